"""Hold the features of many images in memory, as a reader of a store gives them."""

from collections.abc import Iterator

from kpextract import Features
from kpextract.formats.store import Entry, Stamp


class HeldFeatures:
    """Features by name, in order; follows `kpextract.formats.store.StoreReader`."""

    def __init__(self, features: dict[str, Features]) -> None:
        self.settings: dict[str, str] = {}
        self._features = features

    def names(self) -> list[str]:
        """Return the names of the images."""
        return list(self._features)

    def read(self, name: str) -> Features:
        """Return the features of an image."""
        return self._features[name]

    def entries(self) -> Iterator[Entry]:
        """Yield every entry."""
        for name, features in self._features.items():
            yield Entry(name, Stamp(0, 0), features)

    def close(self) -> None:
        """Do nothing: no file is open."""
