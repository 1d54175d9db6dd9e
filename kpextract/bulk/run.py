"""Extract features from many inputs into one output."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field, fields

from kpextract.bulk.inputs import Input
from kpextract.bulk.work import Job
from kpextract.errors import EntryError
from kpextract.extractor import Extractor
from kpextract.formats.store import Entry, Stamp, Store, Written
from kpextract.printable import printable
from kpextract.stopping import stopped_by_signals

Engine = Callable[[Iterator[Job]], Generator[Entry | Written, None, None]]


@dataclass
class Summary:
    """Count what a run did.

    Attributes:
        images: that have features from this run.
        keypoints: of those images.
        skipped: names of images that an earlier run has done.
        failed: name and error of each input that has no features.
        seconds: that the run took.
        interrupted: whether a signal ended it.
    """

    images: int = 0
    keypoints: int = 0
    skipped: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0
    interrupted: bool = False

    @property
    def images_per_second(self) -> float:
        """Images with features per second of the run."""
        return self.images / self.seconds if self.seconds else 0.0

    def count(self, one: Written) -> None:
        """Count an entry of this run."""
        if one.keypoints is None:
            self.failed.append((one.name, one.error or ""))
        else:
            self.images += 1
            self.keypoints += one.keypoints

    def lose(self, entry: Entry) -> None:
        """Count an entry as failed that the output could not take in the end."""
        if entry.features is not None and entry.name not in self.skipped:
            self.images -= 1
            self.keypoints -= len(entry.features)
            self.failed.append((entry.name, entry.error or ""))


def extract(
    inputs: Iterable[Input],
    store: Store,
    engine: Engine,
    show: Callable[[Written, Summary], None],
    *,
    finishing: bool = False,
) -> Summary:
    """Write an entry for each image that the store does not hold yet.

    Entries are written in the order of the inputs, so that two runs with the same
    result write the same. SIGINT, SIGTERM and SIGHUP end the run with what is written
    kept, and change nothing once all is written; see `kpextract.stopping`. An entry
    that the store cannot hold, such as one of a bad name, counts as failed and is not
    written.

    Args:
        store: it stays open.
        engine: turns jobs into entries, in order, or writes them itself.
        show: called after each entry is written.
        finishing: a signal lets the engine finish the jobs that it has, instead of
            leaving them; for one that writes.

    Returns:
        The summary, also of a run that was interrupted.
    """
    summary, started, shield = Summary(), time.monotonic(), _Shield()
    jobs = _pending(inputs, store.done(), summary)
    entries = engine(_until_stopped(jobs, shield) if finishing else jobs)
    with stopped_by_signals(shield.stop):
        try:
            for entry in entries:
                with shield:  # an entry is written whole or not at all
                    one = _written(store, entry)
                    summary.count(one)
                    show(one, summary)
            summary.interrupted = shield.left
        except KeyboardInterrupt:
            summary.interrupted = True
        finally:
            shield.raises = False  # there is nothing left to stop
            entries.close()
    summary.seconds = time.monotonic() - started
    return summary


def _pending(
    inputs: Iterable[Input], done: dict[str, Stamp], summary: Summary
) -> Iterator[Job]:
    """Yield the jobs that are not done, and count the others."""
    for each in inputs:
        for job in each.jobs(done):
            if done.get(job.name) == job.stamp:
                summary.skipped.append(job.name)
            else:
                yield job


def _until_stopped(jobs: Iterator[Job], shield: "_Shield") -> Iterator[Job]:
    """Yield jobs until a signal says to stop; from the first on it raises nothing."""
    shield.raises = False
    for job in jobs:
        if shield.stopped:
            shield.left = True
            return
        yield job


def _written(store: Store, entry: Entry | Written) -> Written:
    """Write an entry unless it is written; give an error if the output cannot hold it.

    A bad name may not end the run of the others.
    """
    if isinstance(entry, Written):
        return entry
    try:
        store.add(entry)
    except EntryError as error:
        return Written(entry.name, None, printable(str(error)))
    return Written.of(entry)


def settings_of(extractor: Extractor, frame: str) -> dict[str, str]:
    """Return what features depend on, as texts, for a store.

    Args:
        frame: "stored" or "upright".
    """
    info, pipeline = extractor.info, extractor.pipeline
    options = {each.name: getattr(pipeline, each.name) for each in fields(pipeline)}
    for name in ("backend", "intensity_warnings"):  # objects, which change no feature
        del options[name]
    options["refine"] = options.pop("refinement") is not None
    return {
        "model": info.model,
        "version": info.version,
        "sha256": info.sha256,
        "backend": info.backend,
        "precision": info.precision,
        "frame": frame,
        **{name: str(value) for name, value in options.items()},
    }


class _Shield:
    """Put off KeyboardInterrupt to the end of a block.

    stopped: whether a signal came.
    raises: whether it raises at all.
    left: whether a job was left because of it.
    """

    def __init__(self) -> None:
        self._inside = self.stopped = self.left = False
        self.raises = True

    def stop(self) -> None:
        """Raise now, or at the end of the block."""
        self.stopped = True
        if self.raises and not self._inside:
            raise KeyboardInterrupt

    def __enter__(self) -> None:
        self._inside = True

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._inside = False
        if self.stopped and self.raises and kind is None:
            raise KeyboardInterrupt
