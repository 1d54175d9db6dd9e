"""Take frames of videos and recordings, and name them."""

import cv2
import numpy as np
import pytest

from kpextract.bulk import frames
from kpextract.bulk.frames import Frames, stamp_of
from kpextract.errors import InvalidImageError, SourceError

RNG = np.random.default_rng(0)


@pytest.fixture
def clip(tmp_path):
    """Return the path of a video of 12 frames, each brighter than the one before."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 48))
    for i in range(12):
        writer.write(np.full((48, 64, 3), 20 * i, np.uint8))
    writer.release()
    return str(path)


def names(jobs):
    return [job.name for job in jobs]


def test_frames_are_named_by_their_number(clip):
    jobs = list(Frames("sub/clip.avi", clip, every=5, topic=None).jobs({}))
    expected = ["sub/clip.avi/000000", "sub/clip.avi/000005", "sub/clip.avi/000010"]
    assert names(jobs) == expected
    assert {job.stamp for job in jobs} == {stamp_of(clip)}
    assert [round(job.image.mean() / 20) for job in jobs] == [0, 5, 10]


def test_a_video_that_is_done_is_not_decoded(clip, monkeypatch):
    video, stamp = Frames("c", clip, every=5, topic=None), stamp_of(clip)
    done = dict.fromkeys(("c/000000", "c/000005", "c/000010"), stamp)
    monkeypatch.setattr(frames.Capture, "read", lambda self: pytest.fail("decoded"))
    assert names(video.jobs(done)) == list(done)


def test_one_frame_that_is_missing_is_decoded(clip):
    video, stamp = Frames("c", clip, every=5, topic=None), stamp_of(clip)
    done = dict.fromkeys(("c/000000", "c/000010"), stamp)
    jobs = {job.name: job.image for job in video.jobs(done)}
    assert round(jobs["c/000005"].mean() / 20) == 5


def test_a_damaged_video_is_one_job_with_an_error(tmp_path):
    path = tmp_path / "bad.mp4"
    path.write_bytes(b"no video at all")
    (job,) = Frames("bad.mp4", str(path), 1, None).jobs({})
    assert (job.name, job.image) == ("bad.mp4", None)
    assert "bad.mp4 cannot be opened" in job.error
    (again,) = Frames("bad.mp4", str(path), 1, None).jobs({"bad.mp4": job.stamp})
    assert again.error is None  # not opened again: it is known to have failed


class Tape:
    """A recording with a frame that cannot be decoded, and one time twice."""

    topic = "/cam/image_raw"
    stamps = (5, 6, 6, 7, 8)

    def __init__(self, path, topic):
        self.index, self.released = -1, False
        assert topic == "/cam/image_raw"

    def advance(self):
        self.index += 1
        if self.index == len(self.stamps):
            raise SourceError("the tape is torn.")
        return True

    @property
    def stamp_ns(self):
        return self.stamps[self.index]

    def image(self):
        if self.stamp_ns == 7:
            raise InvalidImageError("no image.")
        return np.full((48, 64), self.index, np.uint8)

    def release(self):
        self.released = True


@pytest.fixture
def tape(tmp_path, monkeypatch):
    monkeypatch.setattr(frames, "Recording", Tape)
    path = tmp_path / "drive.bag"
    path.touch()
    return str(path)


def test_images_of_a_recording_are_named_by_topic_and_time(tape):
    jobs = list(Frames("drive.bag", tape, 1, "/cam/image_raw").jobs({}))
    folder = "drive.bag/cam/image_raw"
    expected = [f"{folder}/{time}" for time in ("5", "6", "6-2", "7", "8")]
    assert names(jobs) == [*expected, folder]
    assert [job.error for job in jobs] == [None] * 3 + [
        "no image.",
        None,
        "the tape is torn.",
    ]


def test_what_is_done_of_a_recording_is_not_decoded_again(tape):
    done = {"drive.bag/cam/image_raw/7": stamp_of(tape)}
    jobs = list(Frames("drive.bag", tape, 1, "/cam/image_raw").jobs(done))
    assert [job.error for job in jobs][3] is None
    assert jobs[3].image is None


def test_every_second_image_of_a_recording(tape):
    jobs = list(Frames("d", tape, 2, "/cam/image_raw").jobs({}))
    assert [job.image is not None and job.image[0, 0] for job in jobs] == [0, 2, 4, 0]
