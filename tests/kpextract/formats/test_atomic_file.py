"""Test that changes of a file last together or not at all."""

import io
import os
import random

import pytest

from kpextract.formats import atomic_file
from kpextract.formats.atomic_file import PAGE, AtomicFile, journal_of, recover

SIZE = 5 * PAGE + 100


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(random.Random(0).randbytes(SIZE))
    return path


def change(file, model, chance):
    """Write at random places, in a file and in a model of it."""
    for _ in range(20):
        start = chance.randrange(len(model) + 1)
        content = chance.randbytes(chance.choice([1, 100, PAGE, 3 * PAGE]))
        file.seek(start)
        file.write(content)
        model[start : start + len(content)] = content


def test_a_file_reads_as_one_that_is_written_in_place(path):
    model = bytearray(path.read_bytes())
    file = AtomicFile(path)
    for seed in range(5):
        change(file, model, random.Random(seed))
        file.seek(0)
        assert file.read() == model
        file.commit()
        assert path.read_bytes() == model
    file.close()
    assert os.listdir(path.parent) == ["file"]


def test_what_is_not_committed_is_lost(path):
    before = path.read_bytes()
    file = AtomicFile(path)
    change(file, bytearray(before), random.Random(0))
    file.close()
    assert path.read_bytes()[:SIZE] == before


def test_sizes_follow_at_the_commit(path):
    file = AtomicFile(path)
    file.truncate(PAGE)
    assert file.seek(0, os.SEEK_END) == PAGE
    assert path.stat().st_size == SIZE
    file.commit()
    assert path.stat().st_size == PAGE
    file.truncate(3 * PAGE)
    file.commit()
    assert path.read_bytes()[PAGE:] == bytes(2 * PAGE)
    file.close()


def test_an_end_at_any_step_of_a_commit_leaves_old_or_new(path, monkeypatch):
    """Each write, cut short in its middle, is the last thing that a process does."""
    before = path.read_bytes()
    after = bytearray(before)
    change(io.BytesIO(before), after, random.Random(1))
    outcomes = []
    for last in range(1000):
        path.write_bytes(before)
        steps = 0

        def write(descriptor, offset, view, last=last):
            nonlocal steps
            steps += 1
            if steps > last:
                os.pwrite(descriptor, view[: len(view) // 2], offset)
                raise Killed
            os.pwrite(descriptor, view, offset)

        file = AtomicFile(path)
        with monkeypatch.context() as patch:
            patch.setattr(atomic_file, "_write_at", write)
            try:
                change(file, bytearray(before), random.Random(1))
                file.commit()
                killed = False
            except Killed:
                killed = True
        file.close()
        recover(path)
        outcomes.append(path.read_bytes() == after)
        assert outcomes[-1] or path.read_bytes()[:SIZE] == before
        if not killed:
            break
    assert not outcomes[0]
    assert outcomes[-1]
    assert outcomes == sorted(outcomes)


def test_a_journal_that_is_cut_short_changes_nothing(path, monkeypatch):
    before = path.read_bytes()
    file = AtomicFile(path)
    file.write(bytes(2 * PAGE))
    monkeypatch.setattr(atomic_file, "recover", lambda _: None)
    file.commit()
    file.close()
    journal = journal_of(path)
    content = journal.read_bytes()
    for size in (*range(0, len(content), 97), len(content) - 1):
        journal.write_bytes(content[:size])
        recover(path)
        assert path.read_bytes() == before
        assert not journal.exists()
    journal.write_bytes(content)
    recover(path)
    assert path.read_bytes() == bytes(2 * PAGE) + before[2 * PAGE :]
