"""Outputs of `kpextract extract`, with a damaged file in them, and lists of pairs."""

import functools
import shutil
import struct
from pathlib import Path

import numpy as np

from kpextract import Features
from kpextract.bulk.pairs import read_pairs
from kpextract.errors import KpextractError
from kpextract.formats.hdf5_matches import read_matches, write_matches
from kpextract.formats.pair_matches import PairMatches
from kpextract.formats.store import Entry, Stamp
from kpextract.formats.table import open_reader, open_store
from tests.fuzz import samples
from tests.fuzz.invariants import check_structure, only_our_errors
from tests.fuzz.recipe import Recipe, edit_bytes

NAMES = ("a.jpg", "sub/b.jpg", "c d.jpg")
OUTPUTS = ("out", "out.h5", "out.parquet")
PAIRS = b"# pairs\na.jpg sub/b.jpg\n\nc d.jpg a.jpg\n"
SETTINGS = {"model": "small 3", "frame": "stored"}
HEAP = b"GCOL"  # of HDF5: where texts of attributes are
OBJECT = struct.Struct("<HHIQ")  # head of an object there: index, count, 0, size


def run(recipe: Recipe) -> None:
    """Damage one file; what opens must give entries, or say why not."""
    kind = recipe.pick((*OUTPUTS, "matches", "pairs"))
    if kind == "pairs":
        _list_pairs(recipe)
        return
    file, folder = _damaged(kind, recipe)
    if _loops(file.read_bytes()):
        return
    with only_our_errors(KpextractError):
        if kind == "matches":
            for pair in read_matches(file):
                assert pair.indices.shape == (len(pair.scores), 2)
        elif recipe.integer(0, 3):
            _read(folder / kind)
        else:
            _continue(folder / kind)


def _read(path: Path) -> None:
    reader = open_reader(path)
    try:
        for name in reader.names():
            check_structure(reader.read(name))
        for entry in reader.entries():
            assert (entry.features is None) != (entry.error is None)
    finally:
        reader.close()


def _continue(path: Path) -> None:
    """Write an entry to an output; it must be there afterwards."""
    store = open_store(path, SETTINGS)
    try:
        store.add(_entry("new.jpg"))
    finally:
        store.close()
    reader = open_reader(path)
    try:
        assert len(reader.read("new.jpg")) == 3
    finally:
        reader.close()


def _list_pairs(recipe: Recipe) -> None:
    path = samples.scratch() / "pairs.txt"
    path.write_bytes(edit_bytes(PAIRS, recipe))
    with only_our_errors(KpextractError):
        for first, second in read_pairs(path, NAMES):
            assert first != second
            assert {first, second} <= {*NAMES}


def _damaged(kind: str, recipe: Recipe) -> tuple[Path, Path]:
    """Return a damaged file, and the folder with it and all others as they were."""
    contents = _contents()
    chosen = recipe.pick([name for name in contents if name.split("/")[0] == kind])
    folder = samples.scratch() / "stores"
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in contents.items():
        if name.split("/")[0] == kind:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(edit_bytes(content, recipe) if name == chosen else content)
    return folder / chosen, folder


def _loops(content: bytes) -> bool:
    """Return whether HDF5 2.0.0 reads a heap of a file for ever: a gap of size 0."""
    start = content.find(HEAP)
    at = start + OBJECT.size  # its own head has the size of an object's
    while start >= 0 and at + OBJECT.size <= len(content):
        index, _, _, size = OBJECT.unpack_from(content, at)
        if index == 0:
            return size == 0
        at += OBJECT.size + (size + 7) // 8 * 8
    return False


@functools.cache
def _contents() -> dict[str, bytes]:
    """Return the files of an output of each format, by their names."""
    folder = samples.scratch() / "whole"
    folder.mkdir()
    for output in OUTPUTS:
        store = open_store(folder / output, SETTINGS)
        for name in NAMES:
            store.add(_entry(name))
        store.add(Entry("bad.jpg", Stamp(1, 2), None, "not an image"))
        store.close()
    pair = PairMatches("a.jpg", "sub/b.jpg", np.array([[0, 1], [2, 0]]), 3, None)
    write_matches(folder / "matches", [pair])
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def _entry(name: str) -> Entry:
    arrays = samples.features_arrays()[0]
    return Entry(name, Stamp(1, 2), Features(**(arrays | {"image_size": (48, 32)})))
