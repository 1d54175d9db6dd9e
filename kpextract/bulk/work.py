"""Turn jobs into entries: what each worker does, wherever it runs."""

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from kpextract.errors import (
    BackendUnavailableError,
    KpextractError,
    MissingPackageError,
)
from kpextract.extractor import Extractor
from kpextract.formats.store import Entry, Stamp
from kpextract.passwords import without_password
from kpextract.photos import naming, read_photo
from kpextract.printable import one_line, quoted
from kpextract.stream import map_ahead

# Errors that every other image would meet as well.
FATAL = (BackendUnavailableError, MissingPackageError)


class Job(NamedTuple):
    """One image to extract features from.

    name, stamp: of its entry.
    path: of the photo, video or recording that holds it.
    image: (H, W, 3) BGR or (H, W) of a frame; None for a photo, which the worker reads.
    error: one line that says why there is no image; None if there is one.
    alone: whether a worker died that held it; it is then tried as the only job of one.
    """

    name: str
    stamp: Stamp
    path: str
    image: np.ndarray | None = None
    error: str | None = None
    alone: bool = False


class Worker(Protocol):
    """Work on jobs, in order."""

    def entries(self, jobs: Iterable[Job]) -> Generator[Entry, None, None]:
        """Yield one entry per job."""
        ...


class Work(Protocol):
    """Describe the work, so that it can be sent to another process and opened there."""

    def open(self) -> Worker:
        """Load what the work needs."""
        ...


@dataclass(frozen=True)
class Extraction:
    """Describe the extraction of features.

    Attributes:
        options: arguments of `Extractor`.
        upright: whether photos are turned by their EXIF orientation.
    """

    options: Mapping[str, Any]
    upright: bool

    def open(self) -> "Detection":
        """Load the model."""
        return Detection(Extractor(**self.options), self.upright)


class Detection:
    """Extract features, while the next photo is read and the last entry written."""

    def __init__(self, extractor: Extractor, upright: bool):
        self._extractor, self._upright = extractor, upright

    def entries(self, jobs: Iterable[Job]) -> Generator[Entry, None, None]:
        """Yield one entry per job; what cannot be read or used has an error in it.

        Raises:
            BackendUnavailableError, MissingPackageError: no image can be worked on.
        """
        read = map_ahead(self._read, jobs, workers=1)
        yield from map_ahead(self._entry, read, workers=1)

    def _read(self, job: Job) -> tuple[Job, np.ndarray | str]:
        """Return the image of a job, or the error instead of it."""
        if job.error is not None:
            return job, job.error
        if job.image is not None:
            return job, job.image
        try:
            return job, read_photo(Path(job.path), upright=self._upright)
        except FATAL:
            raise
        except Exception as error:
            return job, described(error)

    def _entry(self, read: tuple[Job, np.ndarray | str]) -> Entry:
        """Return the features of an image, or the error instead of them."""
        job, image = read
        if isinstance(image, str):
            return Entry(job.name, job.stamp, None, image)
        try:
            with naming(Path(job.path)):
                return Entry(job.name, job.stamp, self._extractor.detect(image))
        except FATAL:
            raise
        except Exception as error:  # no image may end the run of the others
            return Entry(job.name, job.stamp, None, described(error))


def described(error: Exception) -> str:
    """Return an error as one printable line, with its type unless it is one of ours.

    Passwords in URLs are left out.
    """
    ours = isinstance(error, KpextractError)
    return without_password(one_line(error) if ours else quoted(error))
