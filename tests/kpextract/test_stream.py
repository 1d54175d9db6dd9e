"""Frames in a row: order, overlap, ends and errors, without a look at the clock."""

import threading

import numpy as np
import pytest

from kpextract import Extractor, InvalidImageError
from kpextract.stream import map_ahead
from tests.kpextract.same import assert_same

TIMEOUT = 20  # seconds, after which a test that hangs fails


def threads():
    return {t.name for t in threading.enumerate() if t.name.startswith("kpextract-")}


@pytest.fixture(autouse=True)
def no_thread_stays():
    yield
    assert not threads()


def test_results_come_in_order_whoever_is_first():
    second_done = threading.Event()

    def slow_start(item):
        if item == 0:
            assert second_done.wait(TIMEOUT)
        if item == 1:
            second_done.set()
        return item * item

    assert list(map_ahead(slow_start, range(50), 2)) == [i * i for i in range(50)]


def test_the_next_item_is_read_while_one_is_worked_on():
    read = threading.Event()

    def items():
        yield 0
        read.set()
        yield 1

    def work(item):
        assert read.wait(TIMEOUT)  # would time out if reading waited for the work
        return item

    assert list(map_ahead(work, items(), 2)) == [0, 1]


def test_workers_work_at_once():
    meeting = threading.Barrier(3, timeout=TIMEOUT)
    assert len(list(map_ahead(lambda _: meeting.wait(), range(30), 3))) == 30


def test_no_more_is_read_than_is_on_its_way():
    workers, read = 2, []

    def items():
        for item in range(100):
            read.append(item)
            yield item

    results = map_ahead(lambda item: item, items(), workers)
    for item in range(20):
        assert next(results) == item
        # Those that were handed out, and at most workers + 1 more.
        assert len(read) <= item + 1 + workers + 1
    results.close()
    assert len(read) <= 20 + workers + 1


def test_nothing_is_read_before_the_first_result_is_asked_for():
    read = []
    results = map_ahead(read.append, iter([1]), 2)
    assert read == []
    assert list(results) == [None]
    assert read == [1]


def test_an_error_of_the_work_comes_in_its_place():
    def work(item):
        if item == 3:
            raise ValueError("third")
        return item

    results = map_ahead(work, range(100), 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="third"):
        next(results)
    assert list(results) == []


def test_an_error_of_the_items_comes_after_those_before_it():
    def items():
        yield from (0, 1)
        raise OSError("camera is gone")

    results = map_ahead(lambda item: item, items(), 2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(OSError, match="camera is gone"):
        next(results)


def test_closing_ends_the_threads_and_reads_no_more():
    read = []

    def items():
        for item in range(1000):
            read.append(item)
            yield item

    results = map_ahead(lambda item: item, items(), 2)
    next(results)
    results.close()
    assert not threads()
    count = len(read)
    assert count < 10
    assert len(read) == count


def test_no_items_give_no_results():
    assert list(map_ahead(lambda item: item, [], 2)) == []


def frames(photo):
    """Shift a photo a little from frame to frame; one frame has another size."""
    views = [np.roll(photo, 7 * i, axis=1) for i in range(6)]
    return [*views, photo[:240, :320], photo[:, :, 1], *views[:2]]


@pytest.mark.parametrize("num_threads", [None, 1, 3])
def test_features_are_those_of_detect(photo, num_threads):
    extractor = Extractor(max_keypoints=500, num_threads=num_threads)
    views = frames(photo)
    streamed = list(extractor.stream(iter(views)))
    assert len(streamed) == len(views)
    for features, view in zip(streamed, views, strict=True):
        assert_same(features, extractor.detect(view))


def test_the_mask_holds_for_all_frames(photo):
    extractor = Extractor(max_keypoints=500, selection="grid")
    mask = np.zeros(photo.shape[:2], np.uint8)
    mask[:300, 100:] = 1
    views = [photo, photo[:, ::-1]]
    for features, view in zip(extractor.stream(views, mask), views, strict=True):
        assert_same(features, extractor.detect(view, mask))


def test_a_frame_that_cannot_be_used_ends_the_stream_with_its_error(extractor, photo):
    results = extractor.stream([photo, None, photo])
    assert len(next(results)) == 1024
    with pytest.raises(InvalidImageError, match=r"cv2.imread return None"):
        next(results)
    assert list(results) == []


def test_two_streams_of_one_extractor_at_once(extractor, photo, other_photo):
    one, other = extractor.detect_batch([photo, other_photo])
    pairs = zip(
        extractor.stream([photo] * 5), extractor.stream([other_photo] * 5), strict=True
    )
    for features0, features1 in pairs:
        np.testing.assert_allclose(features0.keypoints, one.keypoints, atol=1e-4)
        np.testing.assert_allclose(features1.keypoints, other.keypoints, atol=1e-4)
