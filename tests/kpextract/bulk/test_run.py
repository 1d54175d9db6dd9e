"""Run an extraction into a store: order, what is skipped, signals, settings."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from kpextract import Extractor
from kpextract.bulk.inputs import Photo
from kpextract.bulk.run import extract, settings_of
from kpextract.formats.store import Entry, Stamp
from tests.kpextract.bulk.helpers import Memory, entry, features


@pytest.fixture
def photos(tmp_path):
    """Return ten inputs, and the stamp of each by its name."""
    for i in range(10):
        (tmp_path / f"{i}.jpg").write_bytes(b"x" * i)
        os.utime(tmp_path / f"{i}.jpg", ns=(1, 100 + i))
    stamps = {f"{i}.jpg": Stamp(i, 100 + i) for i in range(10)}
    return [Photo(name, str(tmp_path / name)) for name in stamps], stamps


def engine(jobs):
    for one in jobs:
        yield entry(one)


def nothing(*_):
    pass


def test_entries_are_written_in_the_order_of_the_inputs(photos):
    inputs, stamps = photos
    store, shown = Memory(), []
    summary = extract(inputs, store, engine, lambda e, s: shown.append(s.images))
    assert {each.name: each.stamp for each in store.entries} == stamps
    assert [each.name for each in store.entries] == list(stamps)
    assert (summary.images, summary.keypoints, summary.skipped) == (10, 10, [])
    assert shown == list(range(1, 11))
    assert not summary.interrupted


def test_only_what_is_done_in_its_present_state_is_skipped(photos):
    inputs, stamps = photos
    changed = {"3.jpg": Stamp(3, 99), "4.jpg": Stamp(5, 104)}
    store = Memory(stamps | changed)
    summary = extract(inputs, store, engine, nothing)
    assert [each.name for each in store.entries] == list(changed)
    assert summary.images == 2
    assert summary.skipped == [name for name in stamps if name not in changed]


def test_failures_are_counted_and_written(photos):
    inputs, _ = photos

    def failing(jobs):
        for one in jobs:
            bad = one.name == "5.jpg"
            yield Entry(one.name, one.stamp, None if bad else features(3), "b" * bad)

    store = Memory()
    summary = extract(inputs, store, failing, nothing)
    assert summary.failed == [("5.jpg", "b")]
    assert (summary.images, summary.keypoints, len(store.entries)) == (9, 27, 10)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("writing", [False, True])
def test_a_signal_ends_the_run_between_two_entries(photos, number, writing):
    inputs, stamps = photos
    store, closed = Memory(), []

    class Store(Memory):
        def add(self, entry):
            if writing and entry.name == "4.jpg":
                os.kill(os.getpid(), number)
            super().add(entry)

    def working(jobs):
        try:
            for one in jobs:
                if not writing and one.name == "5.jpg":
                    os.kill(os.getpid(), number)
                yield entry(one)
        finally:
            closed.append(True)

    before = signal.getsignal(number)
    store = Store()
    summary = extract(inputs, store, working, nothing)
    assert summary.interrupted
    assert closed == [True]
    assert [each.name for each in store.entries] == list(stamps)[:5]
    assert signal.getsignal(number) is before


def test_it_runs_in_any_thread(photos):
    inputs, stamps = photos
    store = Memory()
    with ThreadPoolExecutor() as pool:
        summary = pool.submit(extract, inputs, store, engine, nothing).result()
    assert (summary.images, summary.interrupted) == (len(stamps), False)


def test_settings_hold_what_features_depend_on_and_nothing_else():
    settings = settings_of(Extractor(num_threads=1), "stored")
    assert settings == settings_of(Extractor(max_keypoints=1024), "stored")
    assert settings["sha256"] == Extractor().info.sha256
    assert {"model", "version", "backend", "precision", "max_size"} < set(settings)
    assert all(isinstance(value, str) for value in settings.values())
    others = [
        settings_of(Extractor(max_keypoints=100), "stored"),
        settings_of(Extractor(min_distance=2), "stored"),
        settings_of(Extractor("small-int8"), "stored"),
        settings_of(Extractor(), "upright"),
    ]
    for other in others:
        assert other != settings
