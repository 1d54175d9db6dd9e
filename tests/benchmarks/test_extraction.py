import json
import shutil

import pytest

from benchmarks.extraction import LOOP, Case, main, summarize, table
from benchmarks.extraction_point import size_of


def test_each_case_is_measured(root, tmp_path, capsys):
    for package in ("h5py", "pyarrow"):
        pytest.importorskip(package)
    photos, out = tmp_path / "photos", tmp_path / "x.json"
    photos.mkdir()
    for name in ("street-left.jpg", "blocks.jpg"):
        shutil.copy(root / "examples" / name, photos)
    for name in ("x.jpg", "y.jpg"):
        shutil.copy(root / "examples" / "street-right.jpg", photos / name)
    words = ["--turns", "1", "--limit", "2", "--out", str(out)]
    assert main([str(photos), *words]) == 0
    result = json.loads(out.read_text())
    assert result["images"] == 2
    sizes = [
        (photos / name).stat().st_size for name in ("blocks.jpg", "street-left.jpg")
    ]
    assert result["input_bytes"] == round(sum(sizes) / 2)
    kilobytes = f"{result['input_bytes'] / 1000:.0f}"
    assert table(result).endswith(f"\n\n2 photos of {kilobytes} kB, 1 turns.")
    assert table(result) in capsys.readouterr().out
    loop, *others = result["rows"]
    assert (loop["format"], loop["rate"]) == (None, 1)
    assert all(row["rate"] > 0 and row["cpu_ms"] > 0 for row in others)
    sizes = {(row["format"], row["descriptors"]): row["bytes"] for row in others}
    assert sizes["hdf5", "float16"] < 0.7 * sizes["hdf5", "float32"]
    assert all(row["worker_mib"] > 20 for row in others if row["workers"] > 1)


def test_rates_are_those_of_each_turn():
    turn = {"images": 10, "cpu_ms": 3.0}
    loops = [turn | {"seconds": seconds} for seconds in (1.0, 4.0, 2.0)]
    own = [turn | {"seconds": seconds} for seconds in (2.0, 4.0, 2.5)]
    row = summarize(Case("npz"), own, loops)
    assert row["rates"] == [0.5, 1.0, 0.8]
    assert (row["rate"], row["seconds"], row["format"]) == (0.8, 2.5, "npz")
    assert summarize(LOOP, loops, loops)["rate"] == 1


def test_a_folder_has_the_bytes_of_its_files(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a").write_bytes(bytes(3))
    (tmp_path / "sub" / "b").write_bytes(bytes(4))
    assert (size_of(tmp_path), size_of(tmp_path / "a")) == (7, 3)
