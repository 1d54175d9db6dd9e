"""Write and read COLMAP's database, through pycolmap.

The database gets images, cameras, keypoints and matches. It gets no descriptors: COLMAP
matches only the few types that it knows. What matching needs is in an HDF5 file
beside it, `map.h5` for `map.db`, which stays. That file is what a run continues; the
database is written from it, whole or not at all.

COLMAP puts (0.5, 0.5) at the center of the top-left pixel: keypoints gain 0.5 on the
way into the database, here and nowhere else, and lose it on the way out.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from kpextract.errors import KpextractError, StoreError, did_you_mean
from kpextract.features import Features
from kpextract.files import replacing
from kpextract.formats.hdf5 import Hdf5Reader, Hdf5Store
from kpextract.formats.lock import Lock
from kpextract.formats.pair_matches import PairMatches
from kpextract.formats.store import Entry, Stamp, StoreReader
from kpextract.packages import import_pycolmap
from kpextract.printable import quoted, some_of

CORNER = np.float32(0.5)  # from COLMAP's origin to the center of the first pixel
CAMERA_MODES = ("auto", "single", "per_folder", "per_image")
BESIDE = ("-wal", "-shm", "-journal")  # what SQLite calls its files beside a database
SQLITE = b"SQLite format 3\0"  # how a database begins


def companion(path: str | os.PathLike[str]) -> Path:
    """Return the HDF5 file with the features of a database."""
    return Path(path).with_suffix(".h5")


class ColmapStore:
    """A database and its HDF5 file, open for writing.

    The first entry that is added removes an older database: its matches are of other
    features. `close` writes a new one, without matches. Follows
    `kpextract.formats.store.Store`.

    Args:
        images: folder that the names are relative to; COLMAP reads sizes and focal
            lengths from the files.
        camera_mode: which images share a camera: "auto" (those of one size and EXIF),
            "single", "per_folder" or "per_image"; None is "single" if all have one
            size, and otherwise "auto".
    """

    def __init__(
        self,
        path: str,
        settings: Mapping[str, str],
        *,
        images: str | os.PathLike[str] | None = None,
        camera_mode: str | None = None,
    ) -> None:
        import_pycolmap("writing COLMAP's database")
        if camera_mode is not None:
            _camera_mode(camera_mode)
        if images is None or not Path(images).is_dir():
            raise StoreError(
                f"{path}: COLMAP's database needs images, the folder that names are "
                f"relative to; got {images}."
            )
        self._path, self._images, self._mode = Path(path), Path(images), camera_mode
        _check_own(self._path)
        self._lock = Lock(self._path)
        try:
            self._features = Hdf5Store(os.fspath(companion(path)), settings)
        except StoreError as error:
            self._lock.release()
            raise StoreError(
                f"{path} keeps its features in {companion(path).name} beside it. "
                f"{error}"
            ) from error
        except BaseException:
            self._lock.release()
            raise

    def done(self) -> dict[str, Stamp]:
        """Return the entries that are whole, errors included, by name."""
        return self._features.done()

    def add(self, entry: Entry) -> None:
        """Write an entry to the HDF5 file; one of the same name is replaced."""
        self._features.check(entry)  # what is refused may not cost the database
        self._path.unlink(missing_ok=True)
        self._features.add(entry)

    def close(self) -> list[Entry]:
        """Finish the HDF5 file, write the database if it is missing, and unlock both.

        Returns:
            Images that COLMAP cannot read, or reads in another size, with the error;
            the HDF5 file holds it in place of their features.
        """
        try:
            self._features.close()
            return [] if self._path.exists() else self._write()
        finally:
            self._lock.release()

    def _write(self) -> list[Entry]:
        with _replacing(self._path) as temporary, errors_of_writing(self._path):
            reader = ColmapReader(os.fspath(self._path))
            try:
                refused = write_usable(temporary, reader, self._images, self._mode)
                settings, stamps = reader.settings, self._features.done()
                lost = [
                    Entry(name, stamps[name], reader.read(name), why)
                    for name, why in refused.items()
                ]
            finally:
                reader.close()
            if lost:
                store = Hdf5Store(os.fspath(companion(self._path)), settings)
                for entry in lost:
                    store.add(entry._replace(features=None))
                store.close()
        return lost


def _check_own(path: Path) -> None:
    """Raise StoreError unless what is at the path may be replaced: a database of ours.

    Raises:
        StoreError: it is none, or lacks its HDF5 file.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        is_database = file.read(len(SQLITE)) == SQLITE
    if not is_database or not companion(path).is_file():
        raise StoreError(
            f"{path} is not a database of kpextract extract, which has its features "
            f"beside it in {companion(path).name}. It would be lost: give another "
            "output, or remove it."
        )


class ColmapReader(Hdf5Reader):
    """Features of a database, with descriptors; read from the HDF5 file beside it.

    Raises:
        StoreError: that file is missing, corrupt or being written.
    """

    def __init__(self, path: str) -> None:
        super().__init__(os.fspath(companion(path)))


def write_new(
    path: Path,
    reader: StoreReader,
    images: str | os.PathLike[str],
    camera_mode: str | None = None,
) -> None:
    """Write images, cameras and keypoints to a database, whole or not at all.

    It takes the place of one that is there. For arguments and errors, see
    `write_features`.
    """
    with _replacing(path) as temporary:
        write_features(temporary, reader, images, camera_mode)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Do as `replacing`; remove what SQLite leaves beside a file it could not close."""
    with replacing(path) as temporary:
        try:
            yield temporary
        finally:
            for suffix in BESIDE:
                temporary.with_name(temporary.name + suffix).unlink(missing_ok=True)


def write_features(
    path: str | os.PathLike[str],
    reader: StoreReader,
    images: str | os.PathLike[str],
    camera_mode: str | None = None,
) -> None:
    """Write images, cameras and keypoints to an empty or new database.

    Args:
        images: folder that the names in `reader` are relative to.
        camera_mode: as for `ColmapStore`.

    Raises:
        StoreError: COLMAP cannot read an image, or reads it in another size than its
            features have, for example because EXIF turned it.
    """
    with errors_of_writing(path):
        refused = write_usable(path, reader, images, camera_mode)
    for why in refused.values():
        raise StoreError(why)


def write_usable(
    path: str | os.PathLike[str],
    reader: StoreReader,
    images: str | os.PathLike[str],
    camera_mode: str | None = None,
) -> dict[str, str]:
    """Write what `write_features` does, without images that COLMAP cannot use.

    Returns:
        The names of those images, each with one line that says why.
    """
    pycolmap = import_pycolmap("writing COLMAP's database")
    mode, names = _camera_mode(camera_mode or _mode_for(reader)), reader.names()
    refused: dict[str, str] = {}
    while True:
        Path(path).write_bytes(b"")
        pycolmap.Database.open(path).close()  # makes the tables
        left = [name for name in names if name not in refused]
        if not left:  # an empty list would mean every file of the folder
            return refused
        pycolmap.import_images(path, images, mode, left)
        with pycolmap.Database.open(path) as database:
            again = _unusable(database, reader, left, images)
            if not again:
                _write_keypoints(database, reader, left)
                return refused
        refused |= again


def _unusable(
    database: Any,
    reader: StoreReader,
    names: list[str],
    images: str | os.PathLike[str],
) -> dict[str, str]:
    """Return images that are not in a database, or in another size, and why."""
    known = {image.name: image for image in database.read_all_images()}
    cameras = {camera.camera_id: camera for camera in database.read_all_cameras()}
    unusable = {}
    for name in names:
        if name not in known:
            unusable[name] = (
                f"COLMAP cannot read {some_of([name])} in {images}. Convert it, or "
                "leave it out."
            )
            continue
        camera = cameras[known[name].camera_id]
        why = _other_size(name, reader.read(name), (camera.width, camera.height))
        if why:
            unusable[name] = why
    return unusable


def _write_keypoints(database: Any, reader: StoreReader, names: list[str]) -> None:
    ids = {image.name: image.image_id for image in database.read_all_images()}
    for name in names:
        database.write_keypoints(ids[name], reader.read(name).keypoints + CORNER)


@contextmanager
def errors_of_writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn what pycolmap raises when it cannot write a database into a StoreError."""
    try:
        yield
    except KpextractError:
        raise
    except (RuntimeError, ValueError, IndexError) as error:
        raise StoreError(
            f"{path} cannot be written ({quoted(error)}). Is the disk full?"
        ) from error


def write_matches(path: str | os.PathLike[str], matches: Iterable[PairMatches]) -> None:
    """Add matches between images of a database; those of a pair are replaced.

    They are unverified: COLMAP's mapper uses only matches that `verify` has accepted.

    Raises:
        StoreError: a name is not in the database.
    """
    pycolmap = import_pycolmap("writing COLMAP's database")
    with errors_of_writing(path), pycolmap.Database.open(path) as database:
        ids = {image.name: image.image_id for image in database.read_all_images()}
        for pair in matches:
            missing = [name for name in pair[:2] if name not in ids]
            if missing:
                raise StoreError(f"{path} has no image {some_of(missing)}.")
            first, second = ids[pair.name0], ids[pair.name1]
            if database.exists_matches(first, second):
                database.delete_matches(first, second)
                database.delete_two_view_geometry(first, second)
            database.write_matches(first, second, pair.indices.astype(np.uint32))


def verify(path: str | os.PathLike[str], pairs: Iterable[tuple[str, str]]) -> None:
    """Let COLMAP find which matches of the pairs agree on one geometry of two views.

    Raises:
        StoreError: a name that COLMAP's list of pairs cannot hold.
    """
    pycolmap = import_pycolmap("verifying matches")
    lines = []
    for name0, name1 in pairs:
        if any(char.isspace() for char in name0 + name1):
            raise StoreError(
                f"{name0!r} and {name1!r}: COLMAP's list of pairs allows no space in a "
                "name. Rename the files."
            )
        lines.append(f"{name0} {name1}\n")
    import tempfile  # takes a while; not for --help

    with tempfile.TemporaryDirectory(prefix="kpextract-") as folder:
        file = Path(folder, "pairs.txt")
        file.write_text("".join(lines), encoding="utf-8")
        pycolmap.verify_matches(path, file)


def read_keypoints(path: str | os.PathLike[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield name and keypoints (N, 2) float32 of each image, in kpextract's convention.

    Raises:
        StoreError: the file is not a COLMAP database.
    """
    with open_database(path) as database:
        for image in database.read_all_images():
            keypoints = np.asarray(database.read_keypoints(image.image_id))
            yield image.name, keypoints[:, :2].astype(np.float32) - CORNER


def open_database(path: str | os.PathLike[str]) -> Any:
    """Open an existing database with pycolmap; a context manager closes it.

    Raises:
        StoreError: it is missing or not a COLMAP database.
        MissingPackageError: pycolmap is not installed.
    """
    pycolmap = import_pycolmap("reading COLMAP's database")
    if not os.path.isfile(path):
        raise StoreError(f"{path}: no such file.")
    try:
        return pycolmap.Database.open(path)
    except Exception as error:  # RuntimeError of pycolmap, with SQLite's text
        raise StoreError(f"{path} is not a database of COLMAP ({error}).") from error


def _camera_mode(name: str) -> Any:
    pycolmap = import_pycolmap("writing COLMAP's database")
    if name not in CAMERA_MODES:
        raise StoreError(
            f"camera_mode must be one of {', '.join(CAMERA_MODES)}, got {name!r}."
            f"{did_you_mean(name, CAMERA_MODES)}"
        )
    return getattr(pycolmap.CameraMode, name.upper())


def _mode_for(reader: StoreReader) -> str:
    sizes = {reader.read(name).image_size for name in reader.names()}
    return "single" if len(sizes) == 1 else "auto"


def _other_size(name: str, features: Features, size: tuple[int, int]) -> str | None:
    """Say that COLMAP reads an image in another size; None if it does not."""
    if features.image_size == size:
        return None
    there, ours = (f"{width}x{height}" for width, height in (size, features.image_size))
    return (
        f"{name} has {there} pixels for COLMAP, and {ours} for its features. Turn off "
        "the rotation by EXIF, or extract the photo again if it was replaced."
    )
