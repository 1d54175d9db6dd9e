"""Test what full disks and lost permissions leave: whole files, and one line.

The disk is a small tmpfs where this process may mount one. Elsewhere no file may grow
beyond a size, which is what a full disk does to one file.
"""

import contextlib
import json
import shutil
import subprocess
from pathlib import Path

import cv2
import pytest

from kpextract.bulk import mapping
from kpextract.bulk.match_hdf5 import count_matches
from kpextract.cli import main
from kpextract.formats.table import load
from tests.faults.child import (
    assert_one_line,
    fill_disk_at,
    obey_permissions,
    run,
    run_several,
)

KIB = 1024
PHOTOS = 4
ROOM = 512  # KiB: for the features of one or two of the photos, not of all
LITTLE = 12  # KiB, for none of the other outputs
MOST = 1 << 20  # KiB


@pytest.fixture(scope="module")
def photos(root, tmp_path_factory):
    """Return a folder of overlapping crops of a sample photo."""
    folder = tmp_path_factory.mktemp("photos")
    image = cv2.imread(str(root / "examples" / "street-left.jpg"))
    for i in range(PHOTOS):
        crop = image[8 * i : 8 * i + 240, 8 * i : 8 * i + 320]
        cv2.imwrite(str(folder / f"{i}.png"), crop)
    return folder


@pytest.fixture(scope="module")
def features(photos, tmp_path_factory):
    """Return an HDF5 file with the features of the photos."""
    pytest.importorskip("h5py")
    path = tmp_path_factory.mktemp("features") / "features.h5"
    assert main(["extract", str(photos), "-o", str(path), "--workers", "1"]) == 0
    return path


class Disk:
    """A folder that holds a number of KiB, and what to call in a child to limit it."""

    def __init__(self, folder):
        self.folder, self.limit, self._mounted = folder, None, False

    def hold(self, kib):
        """Hold so many KiB from now on."""
        change = "remount," if self._mounted else ""
        command = ["mount", "-t", "tmpfs", "-o", f"{change}size={kib}k", "tmpfs"]
        try:
            done = subprocess.run([*command, self.folder], capture_output=True)
            self._mounted = done.returncode == 0
        except FileNotFoundError:
            self._mounted = False
        self.limit = None if self._mounted else fill_disk_at(kib * KIB)

    def remove(self):
        if self._mounted:
            subprocess.run(["umount", self.folder], check=True)


@pytest.fixture
def disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    disk = Disk(folder)
    yield disk
    disk.remove()


def left_behind(folder):
    """Return hidden files that are no locks."""
    return [path.name for path in folder.rglob(".*") if path.suffix != ".lock"]


def assert_said(words, answer):
    """Assert exit code 2 and one line that says why."""
    code, errors = answer
    assert code == 2, (words, code, errors)
    assert "Traceback" not in errors, (words, errors)
    last = errors.rstrip("\n").split("\n")[-1]
    assert last.startswith("kpextract: "), (words, errors)


FORMATS = [("out", 1), ("out.h5", 2), ("out.parquet", 1), ("out.db", 1)]


@pytest.mark.parametrize(("name", "workers"), FORMATS)
def test_extract_keeps_what_fits_and_goes_on_later(photos, disk, name, workers):
    if name != "out":
        pytest.importorskip("pyarrow" if name == "out.parquet" else "h5py")
    if name == "out.db":
        pytest.importorskip("pycolmap")
    disk.hold(ROOM)
    out = disk.folder / name
    words = ["extract", photos, "-o", out, "--num-threads", 1, "--workers", workers]
    assert_one_line(run(words, "", prepare=disk.limit))
    assert left_behind(disk.folder) == []
    disk.hold(MOST)
    done = run([*words, "--json"], "", prepare=disk.limit)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["images"] + report["skipped"] == PHOTOS
    assert len(load(out)) == PHOTOS
    if name in ("out", "out.h5"):  # the others write many images at once
        assert report["skipped"] >= 1


def outputs(photos, features, folder):
    """Return commands that write one file, and that file."""
    pair = [photos / "0.png", photos / "1.png"]
    commands = {
        folder / "pair.npz": ["match", *pair, "-o"],
        folder / "pair.json": ["match", *pair, "-o"],
        folder / "pair.png": ["match", *pair, "--draw"],
        folder / "track.avi": ["track", photos, "--out"],
        folder / "report.html": ["report", features, "--photos", photos, "-o"],
        folder / "demo": ["demo", "--out"],
        folder / "matches.h5": ["match", features, "-o"],
    }
    with_pycolmap = {folder / "map.db": ["match", features, "--photos", photos, "-o"]}
    try:
        import pycolmap  # noqa: F401
    except ImportError:
        with_pycolmap = {}
    return {path: [*words, path] for path, words in (commands | with_pycolmap).items()}


def test_a_full_disk_is_one_line_and_no_part_of_a_file(photos, features, disk):
    disk.hold(LITTLE)
    commands = outputs(photos, features, disk.folder)
    answers = run_several(commands.values(), prepare=disk.limit)
    for words, answer in zip(commands.values(), answers, strict=True):
        assert_said(words, answer)
    assert left_behind(disk.folder) == []
    # What a run can continue is there, with what was written until then.
    assert {path.name for path in disk.folder.iterdir()} <= {"demo", "matches.h5"}
    disk.hold(MOST)
    matches = disk.folder / "matches.h5"
    assert run(commands[matches], "", prepare=disk.limit).returncode == 0
    assert len(count_matches(matches)) == PHOTOS * (PHOTOS - 1) // 2


class Model:
    """Write as COLMAP does: what fits, without a word about the rest."""

    def write(self, folder):
        with contextlib.suppress(OSError):
            (Path(folder) / "points3D.bin").write_bytes(bytes(LITTLE * KIB))

    def export_PLY(self, path):  # noqa: N802, the name in COLMAP
        with contextlib.suppress(OSError):
            Path(path).write_bytes(bytes(LITTLE * KIB))


def test_a_map_that_does_not_fit_is_not_there(disk):
    disk.hold(LITTLE)
    if disk.limit:
        pytest.skip("this process may not mount a small disk")
    target = disk.folder / "map"
    work = disk.folder / ".work"
    with pytest.raises(OSError, match="No space left"):
        mapping._write([Model()], work, target)
    assert not target.exists()
    disk.hold(MOST)
    shutil.rmtree(work)
    mapping._write([Model()], work, target)
    assert {path.name for path in target.iterdir()} == {"0", "points.ply"}


def test_a_read_only_folder_is_one_line_and_stays_as_it_was(photos, features, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    commands = outputs(photos, features, folder)
    for name, _ in FORMATS:
        commands[folder / name] = ["extract", photos, "-o", folder / name]
    folder.chmod(0o555)
    try:
        answers = run_several(commands.values(), prepare=obey_permissions)
    except subprocess.SubprocessError:
        pytest.skip("this root keeps the right to write everywhere")
    for words, answer in zip(commands.values(), answers, strict=True):
        assert_said(words, answer)
    assert list(folder.iterdir()) == []


def test_lost_permissions_are_one_line_and_change_nothing(photos, features, tmp_path):
    """Files that were written by another user, and that this one may not touch."""
    out = tmp_path / "out"
    assert main(["extract", str(photos), "-o", str(out), "--workers", "1"]) == 0
    mine = tmp_path / "features.h5"
    mine.write_bytes(features.read_bytes())
    before = {path: path.read_bytes() for path in [*out.iterdir(), mine]}
    for path in before:
        path.chmod(0)
    commands = [
        ["extract", photos, "-o", out],
        ["extract", photos, "-o", mine],
        ["report", out, "-o", tmp_path / "report.html"],
        ["report", mine, "-o", tmp_path / "report.html"],
        ["match", mine, "-o", tmp_path / "matches.h5"],
        ["match", out, "-o", tmp_path / "matches.h5"],
    ]
    try:
        answers = run_several(commands, prepare=obey_permissions)
    except subprocess.SubprocessError:
        pytest.skip("this root keeps the right to read and write everywhere")
    for words, answer in zip(commands, answers, strict=True):
        assert_said(words, answer)
    assert {path: path.read_bytes() for path in before} == before
    assert {path.name for path in tmp_path.iterdir()} == {"out", "features.h5"}
