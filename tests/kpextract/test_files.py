"""Files that are written whole or not at all, and what may lie in their way."""

import os
import stat
import subprocess
import sys

import pytest

from kpextract.files import PREFIX, companion_of, replacing


def save(path, text):
    with replacing(path) as temporary:
        temporary.write_text(text)


def test_a_file_appears_with_its_content_and_nothing_beside(tmp_path):
    save(tmp_path / "a.txt", "new")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.txt", "new")]


def test_the_suffix_is_kept_for_writers_that_choose_the_format_by_it(tmp_path):
    with replacing(tmp_path / "a.tar.png") as temporary:
        assert temporary.suffix == ".png"
        assert temporary.parent == tmp_path


def test_a_failure_keeps_what_was_there(tmp_path):
    path = tmp_path / "a.txt"
    save(path, "old")
    with pytest.raises(UnicodeEncodeError):
        save(path, "half \ud800")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.txt", "old")]


def test_temporary_names_cannot_be_predicted(tmp_path):
    names = set()
    for _ in range(8):
        with replacing(tmp_path / "a.txt") as temporary:
            names.add(temporary.name)
    assert len(names) == 8
    assert all(name.startswith(PREFIX) for name in names)


def test_a_planted_link_is_not_followed(tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    monkeypatch.setattr("os.urandom", bytes)
    (tmp_path / f"{PREFIX}{bytes(8).hex()}.tmp.txt").symlink_to(victim)
    with pytest.raises(FileExistsError):
        save(tmp_path / "a.txt", "new")
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("name", ["x" * 251 + ".npz", "a." + "y" * 253])
def test_the_longest_names_of_a_file_system_can_be_written(tmp_path, name):
    assert len(name) == 255
    save(tmp_path / name, "new")
    assert (tmp_path / name).read_text() == "new"


def test_writers_of_one_path_at_one_time_do_not_share_a_file(tmp_path):
    path = tmp_path / "a.txt"
    with replacing(path) as slow, slow.open("w") as file:
        file.write("half")
        save(path, "quick")
        file.write(" and half")
        file.flush()
        assert path.read_text() == "quick"
    assert path.read_text() == "half and half"


def test_a_link_is_followed_and_stays_a_link(tmp_path):
    (tmp_path / "deep").mkdir()
    real, link = tmp_path / "deep" / "real.txt", tmp_path / "link.txt"
    real.write_text("old")
    link.symlink_to("deep/real.txt")
    save(link, "new")
    assert link.is_symlink()
    assert real.read_text() == "new"


def test_a_link_to_nothing_yet_is_followed(tmp_path):
    link = tmp_path / "link.txt"
    link.symlink_to("real.txt")
    save(link, "new")
    assert link.is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755, 0o444])
def test_permissions_are_kept(tmp_path, mode):
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(mode)
    save(path, "new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_new_file_has_the_permissions_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        save(tmp_path / "a.txt", "new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640


def test_a_private_file_is_private_while_it_is_written(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(0o600)
    with replacing(path) as temporary:
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600


def test_a_device_is_written_to_and_not_replaced(monkeypatch):
    monkeypatch.delattr(os, "replace")  # run by root, a failure would cost the device
    with replacing(os.devnull) as path:
        assert path.samefile(os.devnull)
        path.write_text("new")


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    save(pipe, "new")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert os.read(reader, 10) == b"new"
    os.close(reader)


def test_standard_output_can_be_named():
    script = (
        "import os; from kpextract.files import replacing; del os.replace\n"
        "with replacing('/dev/stdout') as path: path.write_text('new')"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "new"


def test_a_directory_is_refused(tmp_path):
    with pytest.raises(IsADirectoryError, match="it is a directory"):
        save(tmp_path, "new")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no/a\.txt: .*no is not a directory"):
        save(tmp_path / "no" / "a.txt", "new")


def test_what_lies_beside_a_file_has_a_name_of_its_own_within_the_limit(tmp_path):
    assert companion_of(tmp_path / "a.h5", "lock") == tmp_path / ".a.h5.lock"
    names = ["x" * 252 + ".h5", "y" * 252 + ".h5", "\u00e9" * 126 + ".h5"]
    beside = [companion_of(tmp_path / name, "journal") for name in names]
    assert len(set(beside)) == len(names)
    for path in beside:
        path.touch()
        assert path.name.startswith(".")
