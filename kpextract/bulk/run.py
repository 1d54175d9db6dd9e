"""Extract features from many inputs into one output."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field, fields

from kpextract.bulk.inputs import Input
from kpextract.bulk.work import Job
from kpextract.errors import EntryError
from kpextract.extractor import Extractor
from kpextract.formats.store import Entry, Stamp, Store
from kpextract.printable import printable
from kpextract.stopping import stopped_by_signals

Engine = Callable[[Iterator[Job]], Generator[Entry, None, None]]


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

    def count(self, entry: Entry) -> None:
        """Count an entry of this run."""
        if entry.features is None:
            self.failed.append((entry.name, entry.error or ""))
        else:
            self.images += 1
            self.keypoints += len(entry.features)

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
    show: Callable[[Entry, Summary], None],
) -> Summary:
    """Write an entry for each image that the store does not hold yet.

    Entries are written in the order of the inputs, so that two runs with the same
    result write the same. SIGINT, SIGTERM and SIGHUP end the run with what is written
    kept, and change nothing once all is written; see `kpextract.stopping`. An entry
    that the store cannot hold, such as one of a bad name, counts as failed and is not
    written.

    Args:
        store: it stays open.
        engine: turns jobs into entries, in order.
        show: called after each entry is written.

    Returns:
        The summary, also of a run that was interrupted.
    """
    summary, started = Summary(), time.monotonic()
    entries = engine(_pending(inputs, store.done(), summary))
    shield = _Shield()
    with stopped_by_signals(shield.stop):
        try:
            for entry in entries:
                with shield:  # an entry is written whole or not at all
                    entry = _written(store, entry)
                    summary.count(entry)
                    show(entry, summary)
        except KeyboardInterrupt:
            summary.interrupted = True
        finally:
            shield.finish()
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


def _written(store: Store, entry: Entry) -> Entry:
    """Write an entry and return it; with an error if the output cannot hold it."""
    try:
        store.add(entry)
    except EntryError as error:  # a bad name may not end the run of the others
        return entry._replace(features=None, error=printable(str(error)))
    return entry


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
    """Put off KeyboardInterrupt to the end of a block."""

    def __init__(self) -> None:
        self._inside = self._stopped = self._finished = False

    def stop(self) -> None:
        """Raise now, or at the end of the block."""
        self._stopped = True
        if not (self._inside or self._finished):
            raise KeyboardInterrupt

    def finish(self) -> None:
        """Put it off for ever: there is nothing left to stop."""
        self._finished = True

    def __enter__(self) -> None:
        self._inside = True

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._inside = False
        if self._stopped and kind is None:
            raise KeyboardInterrupt
