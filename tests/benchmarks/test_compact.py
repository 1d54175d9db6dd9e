import json

import cv2
import numpy as np
import pytest

from benchmarks import compact
from kpextract import Features


@pytest.fixture(scope="module")
def result(tmp_path_factory, root):
    """Return the result of a run on one photo, and what it printed."""
    folder = tmp_path_factory.mktemp("photos")
    photo = cv2.imread(str(root / "examples" / "street-left.jpg"))
    cv2.imwrite(str(folder / "street.png"), photo)
    out = folder / "compact.json"
    given = [str(folder), "--extractors", "small", "--out", str(out)]
    assert compact.main(given) == 0
    return json.loads(out.read_text())


def test_exact_descriptors_give_the_same_matches_as_themselves(result):
    (kinds,) = result["counts"].values()
    assert kinds["float32"]["same"] == kinds["float32"]["matches"] > 100
    assert [kinds[kind]["bytes"] for kind in kinds] == [256, 128, 64]


def test_coarser_descriptors_exchange_more_matches(result):
    (kinds,) = result["counts"].values()
    shares = [kind["same"] / kinds["float32"]["matches"] for kind in kinds.values()]
    assert 1.0 == shares[0] >= shares[1] > shares[2] > 0.9


def test_stored_descriptors_are_those_of_the_format():
    """The step is 4 / sqrt(64) / 127 = 0.0039: 0.24 is 61 of them and 0.1 is 25."""
    row = np.full((1, 64), 0.24, np.float32)
    row[0, 0] = 0.1
    features = Features(np.zeros((1, 2)), np.ones(1), row, (9, 9))
    ratio = np.divide(*compact.stored(features, "uint8").descriptors[0, :2])
    assert ratio == pytest.approx(25 / 61)


def test_the_table_has_a_row_for_each_kind(result, small):
    assert compact.table(result).count("\n") == 4
    assert f"{small}, uint8 | 64 |" in compact.table(result)


def test_a_folder_without_photos_is_one_line(tmp_path, capsys):
    given = [str(tmp_path), "--extractors", "small", "--out", str(tmp_path / "x.json")]
    assert compact.main(given) == 2
    assert str(tmp_path) in capsys.readouterr().err
