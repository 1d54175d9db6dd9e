"""Find the images that a command line means, and give each a name that stays."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from kpextract.bulk.frames import Frames, stamp_of
from kpextract.bulk.work import Job
from kpextract.errors import SourceError, UsageError
from kpextract.formats.store import Stamp
from kpextract.passwords import without_password
from kpextract.photos import expand
from kpextract.video.recordings import image_topics, is_recording
from kpextract.video.sources import VIDEO_FILES

LIST = ".txt"
WILDCARDS = "*?["


class Input(Protocol):
    """A photo, video or recording.

    name: of its entry, or before the names of its frames.
    path: where it is.
    """

    @property
    def name(self) -> str: ...

    @property
    def path(self) -> str: ...

    def jobs(self, done: dict[str, Stamp]) -> Iterator[Job]:
        """Yield its images; those that `done` holds may come without their pixels."""
        ...


class Photo(NamedTuple):
    """A photo, which is read by the worker."""

    name: str
    path: str

    def jobs(self, done: dict[str, Stamp]) -> Iterator[Job]:
        """Yield one job."""
        yield Job(self.name, stamp_of(self.path), self.path)


def find_inputs(
    arguments: list[str], every: int | None = None, topic: str | None = None
) -> list[Input]:
    """Return the inputs that arguments name, in order.

    A file is named by its file name; what a folder, a pattern or a list holds is named
    by its path below the folder, the pattern's part before the first wildcard, or the
    folder of the list. Names have forward slashes.

    Args:
        arguments: photos, folders (searched with their subfolders for photos), glob
            patterns, `.txt` files with a path per line, videos and recordings.
        every: take every N-th frame of videos and recordings; None takes all.
        topic: of a recording's images; None if it has one only.

    Raises:
        UsageError: an argument names nothing, two inputs have one name, an option does
            not apply to any input, or a recording has several topics and none is given.
    """
    found: dict[str, str] = {}  # path by name
    for argument in arguments:
        for name, path in _named(argument):
            other = found.setdefault(name, path)
            if os.path.abspath(other) != os.path.abspath(path):
                raise UsageError(
                    f"{other} and {path} would both be named {name}. Give a folder "
                    "that holds both, or extract them into two outputs."
                )
    inputs = [_input(name, path, every, topic) for name, path in found.items()]
    _check_options(inputs, every, topic)
    return inputs


def _input(name: str, path: str, every: int | None, topic: str | None) -> Input:
    if is_recording(path) or Path(path).suffix.lower() in VIDEO_FILES:
        return Frames(name, path, every or 1, topic)
    return Photo(name, path)


def _check_options(inputs: list[Input], every: int | None, topic: str | None) -> None:
    moving = [each for each in inputs if isinstance(each, Frames)]
    recordings = [each for each in moving if is_recording(each.path)]
    if every is not None and not moving:
        raise UsageError("--every applies to videos and recordings; none is given.")
    if topic is not None and not recordings:
        raise UsageError("--topic applies to recordings; none is given.")
    for each in recordings if topic is None else ():
        _check_one_topic(each.path)


def _check_one_topic(recording: str) -> None:
    """Raise UsageError if a recording has several topics of images."""
    try:
        topics = image_topics(recording)
    except SourceError:
        return  # the run says so, and goes on with the other inputs
    if len(topics) > 1:
        raise UsageError(
            f"{recording} has several topics of images. Choose one, as in --topic "
            f"{topics[0]} (there are {', '.join(topics)})."
        )


def _named(argument: str) -> Iterator[tuple[str, str]]:
    """Yield the name and path of each input that an argument means.

    Raises:
        UsageError: it means nothing.
    """
    if is_recording(argument):
        yield Path(argument).resolve().name, argument
    elif os.path.isdir(argument):
        for path in expand([argument], recursive=True):
            yield _below(path, argument), str(path)
    elif os.path.exists(argument):
        if Path(argument).suffix.lower() == LIST:
            yield from _listed(Path(argument))
        else:
            yield Path(argument).name, argument
    else:
        folder = _fixed_part(argument)
        for path in expand([argument]):
            yield _below(path, folder), str(path)


def _below(path: Path, folder: str) -> str:
    return Path(os.path.relpath(path, folder or ".")).as_posix()


def _fixed_part(pattern: str) -> str:
    """Return the folder of a pattern before its first wildcard."""
    first = min((pattern.find(c) for c in WILDCARDS if c in pattern), default=0)
    return os.path.dirname(pattern[:first])


def _listed(file: Path) -> Iterator[tuple[str, str]]:
    """Yield the lines of a list; a path is relative to the folder of the list.

    Raises:
        UsageError: the list is no text or empty.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()  # BOM of Notepad
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is not a list of paths ({error}).") from error
    paths = [line.strip() for line in lines if line.strip()]
    if not paths:
        raise UsageError(f"{file} is an empty list. Write one path per line.")
    for path in paths:
        name = without_password(_below(file.parent / path, str(file.parent)))
        yield (
            (Path(path).name if name.startswith("../") else name),
            str(file.parent / path),
        )
