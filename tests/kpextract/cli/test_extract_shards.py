"""Run `kpextract extract` into Parquet whose files the workers write."""

import json

import cv2
import pytest

from kpextract.cli import main
from kpextract.formats import open_reader
from kpextract.formats.parquet_files import part_files, part_of
from tests.kpextract.formats.samples import same

pytest.importorskip("pyarrow")
NAMES = [f"{i:02}.jpg" for i in range(12)]


@pytest.fixture(scope="module")
def photos(root, tmp_path_factory):
    """Return a folder of twelve crops, one of them broken."""
    folder = tmp_path_factory.mktemp("photos")
    image = cv2.imread(str(root / "examples" / "street-left.jpg"))
    for i, name in enumerate(NAMES):
        part = image[4 * i : 4 * i + 160, 9 * i : 9 * i + 200]
        cv2.imwrite(str(folder / name), part)
    (folder / "05.jpg").write_bytes(b"no photo")
    return folder


def run(*arguments):
    return main([*map(str, arguments)])


@pytest.fixture(scope="module")
def outputs(photos, tmp_path_factory):
    """Return the folders that one process and two workers write."""
    folder = tmp_path_factory.mktemp("outputs")
    for workers in (1, 2):
        words = ("-o", folder / f"{workers}", "--workers", workers)
        assert run("extract", photos, *words, "--format", "parquet") == 1
    return folder / "1", folder / "2"


def test_workers_write_the_rows_of_one_process(outputs):
    one, two = (list(open_reader(out).entries()) for out in outputs)
    assert [each.name for each in two] == [each.name for each in one] == NAMES
    for mine, other in zip(one, two, strict=True):
        assert (mine.stamp, mine.error) == (other.stamp, other.error)
        assert mine.features is None or same(mine.features, other.features)
    assert {part_of(path).writer for path in part_files(outputs[0])} == {0}
    assert 0 not in {part_of(path).writer for path in part_files(outputs[1])}


def test_a_second_run_skips_what_workers_wrote(photos, outputs, capsys):
    assert run("extract", photos, "-o", outputs[1], "--workers", 2, "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["images"], report["skipped"]) == (0, 12)
    assert report["failed_before"] == ["05.jpg"]


def test_match_and_report_read_it(photos, outputs, tmp_path):
    matches, page = tmp_path / "matches.h5", tmp_path / "report.html"
    pytest.importorskip("h5py")
    assert run("match", outputs[1], "-o", matches, "--pairs", "sequential:1") == 0
    assert run("report", outputs[1], "--photos", photos, "-o", page) == 0
    assert "05.jpg" in page.read_text()
