"""`kpextract match` on an output of `kpextract extract`."""

import json

import numpy as np
import pytest

from kpextract import match
from kpextract.bulk.match_hdf5 import count_matches
from kpextract.cli import main
from kpextract.formats.table import save
from tests.kpextract.bulk.stores import features_of

NAMES = ["a.jpg", "b.jpg", "sub/c.jpg", "d.jpg"]


@pytest.fixture
def features():
    generator = np.random.default_rng(0)
    words = generator.normal(size=(40, 16))
    noisy = (words + 0.5 * generator.normal(size=words.shape) for _ in NAMES)
    return {name: features_of(rows) for name, rows in zip(NAMES, noisy, strict=True)}


@pytest.fixture(params=[".h5", ""], ids=["hdf5", "npz"])
def store(request, features, tmp_path):
    path = tmp_path / f"features{request.param}"
    save(path, features)
    return str(path)


def test_all_pairs_are_matched_as_by_match(store, features, tmp_path, capsys):
    out = tmp_path / "matches.h5"
    assert main(["match", store, "-o", str(out), "--max-ratio", "0.9"]) == 0
    counted = dict(count_matches(out))
    assert len(counted) == 6
    total = 0
    for (first, second), count in counted.items():
        expected = match(features[first], features[second], max_ratio=0.9)
        assert count == len(expected)
        total += count
    assert f"6 pairs matched: {total} matches" in capsys.readouterr().out


def test_a_second_run_continues(store, tmp_path, capsys):
    out = str(tmp_path / "matches.h5")
    assert main(["match", store, "-o", out, "--pairs", "sequential:1", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert (first["pairs"], first["skipped"]) == (3, 0)
    assert main(["match", store, "-o", out]) == 0
    assert "3 pairs matched, 3 were done" in capsys.readouterr().out


def test_other_bounds_do_not_continue(store, tmp_path, capsys):
    out = str(tmp_path / "matches.h5")
    assert main(["match", store, "-o", out]) == 0
    assert main(["match", store, "-o", out, "--max-ratio", "0.8"]) == 2
    assert "other settings: max_ratio" in capsys.readouterr().err


@pytest.mark.parametrize("spelled", ["first", "second"])
def test_an_option_equal_to_its_default_continues(spelled, store, tmp_path, capsys):
    runs = [[], ["--max-ratio", "1", "--min-similarity=-1.0"]]
    for options in runs if spelled == "second" else reversed(runs):
        assert main(["match", store, "-o", str(tmp_path / "m.h5"), *options]) == 0
    assert "0 pairs matched, 6 were done" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "need -o FILE"),
        (["-o", "x.npz"], "must end in .h5 or .hdf5 or .db"),
        (["-o", "x.h5", "--pairs", "some"], "neither a choice nor a file"),
        (["-o", "x.h5", "--max-ratio", "2"], "max_ratio must be in"),
        (["-o", "x.h5", "--model", "base"], "--model: only for two photos"),
        (["-o", "x.h5", "--draw", "x.png"], "--draw: only for two photos"),
        (["-o", "x.db"], "--photos photos/"),
    ],
)
def test_what_cannot_be_done_is_said(
    options, said, store, tmp_path, monkeypatch, capsys
):
    if "x.db" in options:
        pytest.importorskip("pycolmap")
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    assert main(["match", store, *options]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert set(tmp_path.iterdir()) == before


def test_an_input_that_is_no_output_is_refused(tmp_path, root, capsys):
    photo = str(root / "examples" / "blocks.jpg")
    assert main(["match", photo, "-o", str(tmp_path / "x.h5")]) == 2
    assert "blocks.jpg" in capsys.readouterr().err


def test_pairs_are_not_for_two_photos(root, capsys):
    photo = str(root / "examples" / "blocks.jpg")
    assert main(["match", photo, photo, "--pairs", "exhaustive"]) == 2
    assert "apply to an output of kpextract extract" in capsys.readouterr().err
