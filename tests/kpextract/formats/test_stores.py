"""Test what every output of many images promises, whatever its format."""

import multiprocessing
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from kpextract.errors import FeatureFileError, KpextractError, StoreError
from kpextract.formats import open_reader, open_store
from tests.kpextract.formats.samples import SETTINGS, entry, error, features, same

OUTPUTS = ["out", "out.h5", "out.parquet"]


@pytest.fixture(params=OUTPUTS)
def output(request, tmp_path):
    return tmp_path / request.param


def fill(output, *entries, **options):
    store = open_store(output, SETTINGS, **options)
    for one in entries:
        store.add(one)
    store.close()


def contents(output):
    reader = open_reader(output)
    entries = list(reader.entries())
    reader.close()
    return entries


def test_what_is_read_is_what_was_written(output):
    written = [
        entry("10.jpg", 1),
        entry("sub/2.jpg", 2, sigma=False),
        entry("2.jpg", 3, count=0),
        error("broken.jpg", 4),
        entry("ümläut 写真.jpg", 5),
    ]
    fill(output, *written)
    read = contents(output)
    assert [one.name for one in read] == [
        "2.jpg",
        "10.jpg",
        "broken.jpg",
        "sub/2.jpg",
        "ümläut 写真.jpg",
    ]
    for one in read:
        (expected,) = (other for other in written if other.name == one.name)
        assert (one.stamp, one.error) == (expected.stamp, expected.error)
        assert one.features is None or same(one.features, expected.features)
    reader = open_reader(output)
    assert reader.settings["model"] == "small 3"
    assert "broken.jpg" not in reader.names()
    with pytest.raises(FeatureFileError, match=r"broken\.jpg' has no features: not an"):
        reader.read("broken.jpg")
    with pytest.raises(FeatureFileError, match=r"'3\.jpg' is not in it"):
        reader.read("3.jpg")


def test_a_later_run_continues(output):
    fill(output, entry("a.jpg", 1), error("b.jpg", 2))
    store = open_store(output, SETTINGS)
    assert store.done() == {"a.jpg": entry("a.jpg", 1)[1], "b.jpg": (1002, 10**18 + 2)}
    store.add(entry("c.jpg", 3))
    store.close()
    assert [one.name for one in contents(output)] == ["a.jpg", "b.jpg", "c.jpg"]


def test_an_entry_replaces_one_of_its_name(output):
    fill(output, entry("a.jpg", 1), entry("b.jpg", 2), error("c.jpg"))
    fill(output, entry("a.jpg", 3), error("b.jpg", 4), entry("c.jpg", 5))
    fill(output, entry("a.jpg", 6), entry("a.jpg", 7))
    a, b, c = contents(output)
    assert a.stamp == (1007, 10**18 + 7)
    assert same(a.features, features(7))
    assert b == error("b.jpg", 4)
    assert same(c.features, features(5))


def test_other_settings_are_named_and_refused(output):
    fill(output, entry("a.jpg"))
    other = {**SETTINGS, "max_keypoints": "200", "mask": "m.png"}
    del other["model"]
    with pytest.raises(StoreError) as raised:
        open_store(output, other)
    said = str(raised.value)
    assert "max_keypoints is 100 there and 200 now" in said
    assert "mask is not set there and m.png now" in said
    assert "model is small 3 there and not set now" in said
    fill(output, entry("b.jpg"))  # the refusal left no lock behind


def test_two_writers_are_refused(output):
    store = open_store(output, SETTINGS)
    with pytest.raises(StoreError, match=f"is being written by process {os.getpid()}"):
        open_store(output, SETTINGS)
    store.add(entry("a.jpg"))
    store.close()
    fill(output, entry("b.jpg"))
    assert len(contents(output)) == 2
    assert not [path for path in output.parent.rglob("*.lock") if path.exists()]


def hold(output, settings, ready, end):
    store = open_store(output, settings)
    store.add(entry("a.jpg"))
    ready.set()
    end.wait(60)
    os._exit(1)  # without a close, as a killed process


def test_another_process_is_refused_until_it_is_dead(output):
    spawn = multiprocessing.get_context("spawn")
    ready, end = spawn.Event(), spawn.Event()
    other = spawn.Process(target=hold, args=(output, SETTINGS, ready, end))
    other.start()
    assert ready.wait(120)
    with pytest.raises(StoreError, match=f"being written by process {other.pid}"):
        open_store(output, SETTINGS)
    end.set()
    other.join()
    fill(output, entry("b.jpg"))
    assert "b.jpg" in [one.name for one in contents(output)]


@pytest.mark.parametrize(
    "name", ["", "/a", "a//b", "../a", "a/./b", "a\0b", "a/", "bad\udc80.jpg"]
)
def test_a_name_that_leads_elsewhere_is_refused(output, name):
    store = open_store(output, SETTINGS)
    with pytest.raises(StoreError, match="cannot name an image"):
        store.add(entry(name))
    store.close()
    assert contents(output) == []


def test_a_second_close_does_nothing(output):
    store = open_store(output, SETTINGS)
    store.close()
    store.close()


@pytest.mark.parametrize("suffix", ["", ".h5", ".parquet"])
def test_what_is_no_output_is_refused(tmp_path, suffix):
    """A format that is a folder meets a file, the other one something else's file."""
    path = tmp_path / f"x{suffix}"
    path.write_bytes(b"not an output of kpextract" * 100)
    with pytest.raises(StoreError, match=r"x.* is "):
        open_store(path, SETTINGS, "npz" if not suffix else None)
    with pytest.raises(StoreError, match=r"x.* is "):
        open_reader(path, "npz" if not suffix else None)
    assert path.read_bytes() == b"not an output of kpextract" * 100


def test_a_missing_output_is_a_typed_error(output):
    with pytest.raises(StoreError, match="no such file"):
        open_reader(output)


def test_every_way_to_damage_an_output_is_a_typed_error(output):
    """Bits are changed and ends cut off, one at a time, in each file of an output."""
    fill(output, entry("a.jpg", 1, count=5), error("b.jpg", 2), entry("c.jpg", count=0))
    files = (
        [output] if output.is_file() else [p for p in output.rglob("*") if p.is_file()]
    )
    refused = 0
    for path in files:
        content = path.read_bytes()
        for seed in range(40):
            path.write_bytes(damaged(content, random.Random(seed)))
            try:
                contents(output)
                store = open_store(output, SETTINGS)
                store.add(entry("d.jpg", 1, count=5))
                store.close()
            except KpextractError:
                refused += 1
            path.write_bytes(content)
    assert refused


def damaged(content, chance):
    changed = bytearray(content)
    if chance.random() < 0.3:
        return bytes(changed[: chance.randrange(len(changed))])
    for _ in range(chance.choice([1, 1, 10])):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


@pytest.mark.parametrize("format", ["npz", "hdf5", "parquet"])
def test_a_killed_writer_loses_nothing_that_was_done(format, tmp_path):
    """Each of 20 writers that follow each other is killed at a random moment."""
    script = Path(__file__).with_name("kill.py")
    command = [sys.executable, script, format, tmp_path / "out", "20"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    counts = list(map(int, done.stdout.split()))
    assert len(counts) == 20
    assert counts[0] < counts[-1]  # the later ones may write all of it again


@pytest.mark.parametrize("suffix", [".h5", ".parquet", ""])
def test_an_output_may_have_the_longest_name(suffix, tmp_path):
    path = tmp_path / ("x" * (255 - len(suffix)) + suffix)
    for number in (1, 2):
        store = open_store(path, SETTINGS)
        store.add(entry(f"{number}.jpg"))
        with pytest.raises(StoreError, match="is being written by process"):
            open_store(path, SETTINGS)
        store.close()
    reader = open_reader(path)
    assert reader.names() == ["1.jpg", "2.jpg"]
    reader.close()
