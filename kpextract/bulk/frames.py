"""Take the frames of videos and recordings, each with a name that stays."""

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple

from kpextract.bulk.work import Job, described
from kpextract.errors import InvalidImageError, SourceError
from kpextract.formats.store import Stamp
from kpextract.video.capture import Capture
from kpextract.video.recordings import Recording, is_recording

DIGITS = 6  # of a frame's number in its name


def stamp_of(path: str) -> Stamp:
    """Return size and time of a file; zeros if it is not there.

    Of a folder: the sum of its files' sizes, and the newest time.
    """
    try:
        names = os.listdir(path) if os.path.isdir(path) else [""]
        found = [os.stat(os.path.join(path, name) if name else path) for name in names]
    except (OSError, ValueError):  # a path with a null byte
        return Stamp(0, 0)
    newest = max((each.st_mtime_ns for each in found), default=0)
    return Stamp(sum(each.st_size for each in found), newest)


class Frames(NamedTuple):
    """A video or recording, which is read by the process that gives out the jobs.

    Frames of a video are named by their number, those of a recording by their topic and
    time in nanoseconds. What cannot be opened, or is damaged, is one more entry with an
    error, of the name of the file, or of file and topic if one was asked for: another
    topic of the file may be sound.
    """

    name: str
    path: str
    every: int
    topic: str | None

    def jobs(self, done: dict[str, Stamp]) -> Iterator[Job]:
        """Yield every N-th frame; those that `done` holds may come without pixels."""
        stamp = stamp_of(self.path)
        whole = Job(self._name_of_topic(self.topic), stamp, self.path)
        if done.get(whole.name) == stamp:
            yield whole  # it failed in an earlier run
            return
        finished = {name for name, known in done.items() if known == stamp}
        try:
            if is_recording(self.path):
                yield from self._recorded(whole, finished)
            else:
                yield from self._filmed(whole, finished)
        except SourceError as error:
            yield whole._replace(error=described(error))

    def _filmed(self, whole: Job, finished: set[str]) -> Iterator[Job]:
        """Yield frames of a video.

        Raises:
            SourceError: it cannot be opened.
        """
        video = Capture(self.path, self.path, live=False)
        try:
            if video.counted and video.count:
                names = [self._number(i) for i in range(0, video.count, self.every)]
                if finished.issuperset(names):  # no need to decode it
                    yield from (whole._replace(name=name) for name in names)
                    return
            for index in count():
                image = video.read()
                if image is None:
                    return
                if index % self.every == 0:
                    yield whole._replace(name=self._number(index), image=image)
        finally:
            video.release()

    def _number(self, index: int) -> str:
        return f"{self.name}/{index:0{DIGITS}}"

    def _name_of_topic(self, topic: str | None) -> str:
        if topic is None or not is_recording(self.path):
            return self.name
        return Path(self.name, topic.strip("/")).as_posix()

    def _recorded(self, whole: Job, finished: set[str]) -> Iterator[Job]:
        """Yield images of a recording.

        Raises:
            SourceError: it cannot be opened or is damaged.
        """
        recording = Recording(self.path, self.topic)
        folder = self._name_of_topic(recording.topic)
        seen: dict[int, int] = {}  # images by time
        try:
            for index in count():
                if not recording.advance():
                    return
                if index % self.every:
                    continue
                stamp = recording.stamp_ns
                seen[stamp] = seen.get(stamp, 0) + 1
                again = f"-{seen[stamp]}" if seen[stamp] > 1 else ""
                job = whole._replace(name=f"{folder}/{stamp}{again}")
                if job.name not in finished:
                    try:
                        job = job._replace(image=recording.image())
                    except InvalidImageError as error:
                        job = job._replace(error=described(error))
                yield job
        finally:
            recording.release()
