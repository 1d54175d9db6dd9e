"""Write and read features in one HDF5 file, laid out as hloc or glue-factory do.

A group per image, named by its relative path, holds `keypoints` (N, 2) float32 with the
attribute `uncertainty` in pixels, scores, descriptors, and `image_size` (width,
height). hloc loads every dataset of a group into its matcher; all else is attributes:
of the group `done`, `stamp` (size and mtime_ns) and `model`, of keypoints `sigma`, and
of the file the settings and the images that could not be read.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from kpextract.errors import EntryError, FeatureFileError, StoreError
from kpextract.features import Features, ModelId
from kpextract.formats.checks import checked, real_numbers
from kpextract.formats.compact import check_kind, pack, unpack
from kpextract.formats.hdf5_file import (
    Changes,
    corrupt,
    create,
    finish_commit,
    open_file,
    read_settings,
)
from kpextract.formats.hdf5_inside import array, member, members
from kpextract.formats.lock import Lock
from kpextract.formats.names import check_name
from kpextract.formats.settings import check_settings
from kpextract.formats.store import Entry, Stamp, no_features
from kpextract.natural_order import in_natural_order
from kpextract.packages import import_h5py
from kpextract.printable import quoted

Layout = Literal["hloc", "gluefactory"]
KINDS = ("float32", "float16")  # hloc takes numbers as they are
# Begins the attributes of the file that name an image without features.
ERROR = "error: "


class _Names(NamedTuple):
    """Hold what differs between layouts; transposed descriptors are (D, N)."""

    scores: str
    transposed: bool


LAYOUTS = {
    "hloc": _Names("scores", transposed=True),
    "gluefactory": _Names("keypoint_scores", transposed=False),
}


class Hdf5Store:
    """A file open for writing; follows `kpextract.formats.store.Store`.

    Each entry is committed by itself (see `Changes`). The space of a
    replaced entry stays unused.

    Args:
        descriptors: float32 or float16; keypoints are float32 always.
        layout: "hloc", which has descriptors (D, N), or "gluefactory", which has
            them (N, D) and calls the scores `keypoint_scores`.
    """

    def __init__(
        self,
        path: str,
        settings: Mapping[str, str],
        *,
        descriptors: str = "float32",
        layout: str = "hloc",
    ) -> None:
        check_kind(descriptors, KINDS)
        if layout not in LAYOUTS:
            raise StoreError(f"layout must be {' or '.join(LAYOUTS)}, got {layout!r}.")
        import_h5py("writing HDF5")
        self._path, self._kind = Path(path), descriptors
        self._names = LAYOUTS[layout]
        written = {**settings, "descriptors": descriptors, "layout": layout}
        self._lock = Lock(self._path)
        try:
            if not self._path.exists():
                create(self._path, written)
            self._changes = Changes(self._path)
            self._file = self._changes.file
            check_settings(self._path, read_settings(self._path, self._file), written)
            self._done = _stamps(self._path, self._file)
        except BaseException:
            self._lock.release()
            raise

    def done(self) -> dict[str, Stamp]:
        """Return the entries that are whole, errors included, by name."""
        return dict(self._done)

    def check(self, entry: Entry) -> None:
        """Raise EntryError if `add` would, before anything is written."""
        check_name(entry.name)
        if entry.features is not None:
            self._check_place(entry.name)

    def add(self, entry: Entry) -> None:
        """Write an entry; one of the same name is replaced."""
        self.check(entry)
        with self._changes.together():
            self._replace(entry)
        self._done[entry.name] = entry.stamp

    def _replace(self, entry: Entry) -> None:
        self._remove(entry.name)
        if entry.features is None:
            record = json.dumps([*entry.stamp, entry.error])
            self._file.attrs[ERROR + entry.name] = record
        else:
            self._write(self._file.create_group(entry.name), entry)

    def close(self) -> list[Entry]:
        """Finish the output and let other processes open it."""
        try:
            self._changes.close()
        finally:
            self._lock.release()
        return []

    def _remove(self, name: str) -> None:
        if name in self._done:
            if ERROR + name in self._file.attrs:
                del self._file.attrs[ERROR + name]
            else:
                del self._file[name]

    def _check_place(self, name: str) -> None:
        """Raise EntryError if an image is where another one needs a folder."""
        parents = [name[:i] for i, char in enumerate(name) if char == "/"]
        taken = next((p for p in parents if "done" in _attributes(self._file, p)), None)
        if taken or (name in self._file and name not in self._done):
            raise EntryError(
                f"{self._path}: {name!r} and {taken or f'{name}/...'!r} are an image "
                "and a folder of the same name, which this format cannot hold. Rename "
                "one of them."
            )

    def _write(self, group: Any, entry: Entry) -> None:
        features = entry.features
        assert features is not None
        stored = pack(features.descriptors, self._kind)
        keypoints = group.create_dataset("keypoints", data=features.keypoints)
        group.create_dataset(self._names.scores, data=features.scores)
        group.create_dataset(
            "descriptors", data=stored.T if self._names.transposed else stored
        )
        group.create_dataset("image_size", data=np.array(features.image_size, np.int64))
        keypoints.attrs["uncertainty"] = 1.0
        if features.sigma is not None:
            if len(features):
                keypoints.attrs["uncertainty"] = float(np.median(features.sigma))
            keypoints.attrs["sigma"] = features.sigma
        if features.model is not None:
            group.attrs["model"] = json.dumps(features.model)
        group.attrs["stamp"] = np.array(entry.stamp, np.int64)
        group.attrs["done"] = True


class Hdf5Reader:
    """A file open for reading; follows `kpextract.formats.store.StoreReader`.

    Raises:
        StoreError: not such a file, or one that is being written.
    """

    def __init__(self, path: str) -> None:
        import_h5py("reading HDF5")
        self._path = Path(path)
        finish_commit(self._path)
        self._file = open_file(self._path, self._path, "r")
        self.settings: Mapping[str, str] = read_settings(self._path, self._file)
        layout = self.settings.get("layout", "hloc")
        if layout not in LAYOUTS:
            raise StoreError(f"{path} has an unknown layout, {layout!r}.")
        self._layout = LAYOUTS[layout]
        self._errors = _errors(self._path, self._file)
        found = _stamps(self._path, self._file)
        self._stamps = {name: found[name] for name in in_natural_order(found)}

    def names(self) -> list[str]:
        """Return the names of the images that have features, in natural order."""
        return [name for name in self._stamps if name not in self._errors]

    def read(self, name: str) -> Features:
        """Return the features of one image.

        Raises:
            FeatureFileError: the output has no features of it, or they are corrupt.
        """
        if name not in self._stamps or name in self._errors:
            entry = self._errors.get(name)
            raise no_features(self._path, name, entry and entry.error)
        try:
            return _features(self._file[name], self._layout)
        except Exception as error:  # h5py raises a dozen classes on damaged files
            raise FeatureFileError(
                f"{self._path}: {name!r} is corrupt ({quoted(error)}). "
                "Extract it again."
            ) from error

    def entries(self) -> Iterator[Entry]:
        """Yield every entry, errors included, in natural order of names."""
        for name, stamp in self._stamps.items():
            yield self._errors.get(name) or Entry(name, stamp, self.read(name))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _attributes(file: Any, name: str) -> Any:
    return file[name].attrs if name in file else {}


def _errors(path: Path, file: Any) -> dict[str, Entry]:
    errors = {}
    try:
        for attribute, value in file.attrs.items():
            if attribute.startswith(ERROR):
                name = attribute.removeprefix(ERROR)
                size, mtime_ns, error = json.loads(value)
                errors[name] = Entry(name, Stamp(size, mtime_ns), None, str(error))
    except Exception as error:  # whatever a damaged file makes h5py raise
        raise corrupt(path, error) from error
    return errors


def _stamps(path: Path, file: Any) -> dict[str, Stamp]:
    """Return the stamps of all whole images and of the errors, by name."""
    h5py = import_h5py("HDF5")
    stamps = {name: entry.stamp for name, entry in _errors(path, file).items()}
    folders, seen = [("", file)], set()
    try:
        while folders:
            prefix, folder = folders.pop()
            address = h5py.h5o.get_info(folder.id).addr
            if address in seen:  # a damaged file may hold itself
                continue
            seen.add(address)
            for name, item in members(folder):
                if isinstance(item, h5py.Group):
                    if item.attrs.get("done"):
                        size, mtime_ns = item.attrs["stamp"]
                        stamps[prefix + name] = Stamp(int(size), int(mtime_ns))
                    else:
                        folders.append((f"{prefix}{name}/", item))
        for name in stamps:  # what a stranger's file names stays in the folder
            check_name(name)
    except StoreError:
        raise
    except Exception as error:  # whatever a damaged file makes h5py raise
        raise corrupt(path, error) from error
    return stamps


def _features(group: Any, names: _Names) -> Features:
    stored = array(group, "descriptors")
    model = group.attrs.get("model")
    sigma = member(group, "keypoints").attrs.get("sigma")
    width, height = map(int, array(group, "image_size"))
    features = Features(
        real_numbers(array(group, "keypoints")),
        real_numbers(array(group, names.scores)),
        unpack(np.ascontiguousarray(stored.T) if names.transposed else stored),
        (width, height),
        None if sigma is None else real_numbers(np.asarray(sigma)),
        None if model is None else ModelId(*map(str, json.loads(model))),
    )
    return checked(features)
