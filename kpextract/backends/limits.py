"""The range of input shapes that a model accepts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kpextract.backends.base import Batch, Outputs
from kpextract.errors import InvalidImageError
from kpextract.image import STRIDE


@dataclass(frozen=True)
class Limits:
    """Min and max (batch, height, width) of one call, in images and pixels.

    A fixed dimension has both equal; None in `most` means no limit.
    """

    least: tuple[int, int, int] = (1, STRIDE, STRIDE)
    most: tuple[int | None, int | None, int | None] = (None, None, None)

    @property
    def allow_half(self) -> bool:
        """Whether some image is accepted at both full and half size."""
        return all(
            high is None or high // 2 > low - STRIDE  # padded to the stride
            for low, high in zip(self.least[1:], self.most[1:], strict=True)
        )

    def _check(self, images: np.ndarray) -> None:
        """Raise unless the images' height and width are allowed."""
        given = images.shape[1:3]
        if all(
            low <= side and (high is None or side <= high)
            for side, low, high in zip(
                given, self.least[1:], self.most[1:], strict=True
            )
        ):
            return
        raise InvalidImageError(
            f"this model takes images {self._allowed()} (width x height, padded to "
            f"multiples of {STRIDE}), got {given[1]}x{given[0]}. Resize or crop the "
            "image, or export a model or build an engine for this size."
        )

    def _allowed(self) -> str:
        """Return the allowed sizes in words."""
        least = f"{self.least[2]}x{self.least[1]}"
        if self.most[1:] == self.least[1:]:
            return f"of {least} only"
        most = "x".join(str(side or "any") for side in self.most[:0:-1])
        return f"from {least} to {most}"

    @classmethod
    def of(cls, shape: Sequence[int | None]) -> "Limits":
        """Return the limits of an input (B, H, W, 3), None for a dynamic dimension."""
        batch, height, width = shape[:3]
        least = (batch or 1, height or STRIDE, width or STRIDE)
        return cls(least, (batch, height, width))

    def split(self, batch: Batch) -> list[Batch]:
        """Split a batch into batches that the model accepts in one call each.

        The last batch is filled up with copies of its last image if the model needs
        more images; `join` drops their results.

        Raises:
            InvalidImageError: the model does not accept this size.
        """
        self._check(batch.images)
        at_once = self.most[0] or len(batch)
        parts = []
        for start in range(0, len(batch), at_once):
            part = slice(start, start + at_once)
            masks = None if batch.masks is None else self._fill_up(batch.masks[part])
            parts.append(Batch(self._fill_up(batch.images[part]), masks))
        return parts

    def _fill_up(self, images: np.ndarray) -> np.ndarray:
        missing = self.least[0] - len(images)
        if missing <= 0:
            return images
        return np.concatenate([images, np.repeat(images[-1:], missing, axis=0)])


def join(results: Sequence[Outputs], count: int) -> Outputs:
    """Join the results of the batches of `Limits.split` into one for `count` images."""
    (first, *others) = results
    if not others:
        return type(first)(*(array[:count] for array in first))
    arrays = zip(*results, strict=True)
    return type(first)(*(np.concatenate(parts)[:count] for parts in arrays))
