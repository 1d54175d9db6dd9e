import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from benchmarks import calibration
from benchmarks.calibration import (
    MULTIPLES,
    compare,
    derivatives,
    expected,
    main,
    normalized_errors,
    summarize,
    table,
)
from benchmarks.conditions import View
from benchmarks.extractors import Candidate
from kpextract import Extractor, Features
from kpextract.errors import UsageError
from training.metrics import warp_points

COUNT = 4000
HOMOGRAPHY = np.array([[1.4, 0.3, -60], [-0.1, 0.8, 40], [4e-4, -2e-4, 1.0]])


def gaussian_views(generator):
    """Return features of a scene and its view that err by Gaussians of their sigma."""
    scene = generator.uniform((150, 100), (450, 350), (COUNT, 2))
    names = generator.standard_normal((COUNT, 32)).astype(np.float32)
    names /= np.linalg.norm(names, axis=1, keepdims=True)
    seen = []
    for truth in (scene, warp_points(scene, HOMOGRAPHY)):
        sigma = generator.uniform(0.1, 0.5, COUNT)
        points = truth + sigma[:, None] * generator.standard_normal((COUNT, 2))
        seen.append(
            Features(
                points.astype(np.float32),
                np.ones(COUNT, np.float32),
                names,
                (640, 480),
                sigma.astype(np.float32),
            )
        )
    return *seen, View(np.empty((480, 640, 3), np.uint8), HOMOGRAPHY)


@pytest.mark.parametrize("factor", [1.0, 0.5, 2.0])
def test_gaussian_errors_have_the_shares_of_their_sigma(factor):
    """With half the true sigma, k of them are k / 2 of the true ones."""
    *seen, view = gaussian_views(np.random.default_rng(0))
    told = [replace(features, sigma=factor * features.sigma) for features in seen]
    errors = normalized_errors(*told, view)
    assert len(errors) > 0.99 * COUNT  # few are beyond 3 px
    shares = [(errors <= multiple).mean() for multiple in MULTIPLES]
    wanted = [expected(factor * multiple) for multiple in MULTIPLES]
    # Five standard deviations of a share of 4000 draws.
    np.testing.assert_allclose(shares, wanted, atol=5 * 0.5 / np.sqrt(COUNT))


def test_derivatives_are_those_of_small_steps():
    points = np.random.default_rng(1).uniform(0, 300, (20, 2))
    step = 1e-3
    columns = [
        (
            warp_points(points + move, HOMOGRAPHY)
            - warp_points(points - move, HOMOGRAPHY)
        )
        / (2 * step)
        for move in step * np.eye(2)
    ]
    np.testing.assert_allclose(
        derivatives(HOMOGRAPHY, points), np.stack(columns, axis=2), rtol=1e-6
    )


def test_expected_shares_are_those_of_the_rayleigh_distribution():
    lengths = np.linalg.norm(
        np.random.default_rng(2).standard_normal((200_000, 2)), axis=1
    )
    for multiple in MULTIPLES:
        assert expected(multiple) == pytest.approx(
            (lengths <= multiple).mean(), abs=0.005
        )


def test_a_summary_counts_each_photo_once():
    found = summarize([np.array([0.4, 9]), np.array([]), np.array([1.2] * 6)])
    assert found["matches"] == 8
    assert found["mean"] == [0.25, 0.25, 0.75, 0.75, 0.75, 0.75]
    with pytest.raises(UsageError, match="no photo has a correct match"):
        summarize([np.array([])])


def test_the_table_by_hand():
    result = {
        "multiples": [0.5, 1, 1.5, 2, 2.5, 3],
        "expected": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
        "calibration": {"x": {"matches": 7, "mean": [0, 0.11, 0, 0.22, 0, 0.33]}},
    }
    assert table(result).splitlines()[2:] == [
        "| calibrated |  | 0.200 | 0.400 | 0.600 |",
        "| x | 7 | 0.110 | 0.220 | 0.330 |",
    ]


@pytest.fixture
def folder(tmp_path, photo):
    (tmp_path / "photos").mkdir()
    cv2.imwrite(str(tmp_path / "photos" / "0.png"), photo)
    return tmp_path / "photos"


def test_the_command_writes_result_and_plot(folder, tmp_path, capsys, monkeypatch):
    extractor = Extractor(max_keypoints=300)

    def detect(image):
        features = extractor.detect(image)
        return replace(features, sigma=np.full(len(features), 0.5, np.float32))

    candidates = [Candidate("small, 0.5 px", detect)]
    monkeypatch.setattr(calibration, "open_candidates", lambda *_: candidates)
    out = tmp_path / "x.json"
    assert main([str(folder), "--extractors", "base", "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    assert result["calibration"] == compare(candidates, folder)["calibration"]
    found = result["calibration"]["small, 0.5 px"]
    assert found["matches"] > 300
    assert found["mean"] == sorted(found["mean"])
    assert table(result) in capsys.readouterr().out
    assert (tmp_path / "x-shares.png").stat().st_size > 10_000


def test_a_model_without_sigma_is_refused(folder, tmp_path, capsys):
    out = tmp_path / "x.json"
    assert main([str(folder), "--extractors", "base", "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("calibration: kpextract base")
    assert "gives no sigma" in said
    assert said.count("\n") == 1
    assert not out.exists()
