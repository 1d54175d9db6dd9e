"""Test what a full disk leaves: whole files, one line, and a run that goes on later.

The disk is a small tmpfs where this process may mount one. Elsewhere no file may grow
beyond what it would have held, which full disks do to one file at a time.
"""

import json
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest

from kpextract.cli import main
from kpextract.formats.table import load
from tests.faults.child import (
    SECONDS,
    assert_one_line,
    fill_disk_at,
    obey_permissions,
    run,
)

KIB = 1024
PHOTOS = 4
# KiB that hold the features of one or two of the photos, not of all.
ROOM = {"out": 512, "out.h5": 512, "out.parquet": 512, "out.db": 512}


@pytest.fixture(scope="module")
def photos(root, tmp_path_factory):
    """Return a folder of overlapping crops of a sample photo."""
    folder = tmp_path_factory.mktemp("photos")
    image = cv2.imread(str(root / "examples" / "street-left.jpg"))
    for i in range(PHOTOS):
        crop = image[8 * i : 8 * i + 240, 8 * i : 8 * i + 320]
        cv2.imwrite(str(folder / f"{i}.png"), crop)
    return folder


@pytest.fixture
def disk(tmp_path):
    """Return a function that gives a disk of so many KiB, and what limits it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = []

    def make(kib):
        command = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", folder]
        try:
            done = subprocess.run(list(map(str, command)), capture_output=True)
        except FileNotFoundError:
            return folder, fill_disk_at(kib * KIB)
        if done.returncode:
            return folder, fill_disk_at(kib * KIB)
        mounted.append(folder)
        return folder, None

    def grow():
        """Let the disk hold anything."""
        if mounted:
            command = ["mount", "-o", "remount,size=1g", str(folder)]
            subprocess.run(command, check=True)

    make.grow = grow
    yield make
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)


def shown(folder):
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def hidden(folder):
    return [path.name for path in folder.rglob(".*") if path.suffix != ".lock"]


def needs(out):
    if out.endswith((".h5", ".db")):
        pytest.importorskip("h5py")
    if out.endswith(".db"):
        pytest.importorskip("pycolmap")
    if out.endswith(".parquet"):
        pytest.importorskip("pyarrow")


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("out", ROOM)
def test_extract_goes_on_after_a_full_disk(photos, disk, out, workers):
    needs(out)
    folder, limit = disk(ROOM[out])
    words = ["extract", photos, "-o", folder / out, "--num-threads", "1"]
    words += ["--workers", str(workers)]
    done = run(words, "", prepare=limit)
    assert_one_line(done)
    assert "disk" in done.stderr or "space" in done.stderr or "large" in done.stderr
    assert hidden(folder) == []
    disk.grow()
    done = run([*words, "--json"], "")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["images"] + report["skipped"] == PHOTOS
    assert len(load(folder / out)) == PHOTOS
    if out == "out.h5" or out == "out":
        assert report["skipped"] >= 1


def test_it_is_the_same_as_after_an_empty_disk(photos, disk, tmp_path):
    folder, limit = disk(ROOM["out"])
    words = ["extract", photos, "--num-threads", "1", "--workers", "1", "-o"]
    assert_one_line(run([*words, folder / "out"], "", prepare=limit))
    disk.grow()
    assert run([*words, folder / "out"], "").returncode == 0
    assert run([*words, tmp_path / "whole"], "").returncode == 0
    for path in (tmp_path / "whole").iterdir():
        assert (folder / "out" / path.name).read_bytes() == path.read_bytes()
