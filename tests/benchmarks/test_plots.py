import json

import pytest

from benchmarks.plots import latency_figure, main, matching_figure


@pytest.fixture
def result():
    row = {f"matching_accuracy_{t}": t / 10 for t in range(1, 11)}
    row["homography_accuracy_3"] = 0.75
    parts = {"all": {"x": row}, "viewpoint": {"x": row}}
    return {
        "pairs": {"all": 4, "viewpoint": 2},
        "figures": {"640x480, 1000 points": parts},
        "latency": {"x": {"milliseconds": {"p50": 12.5}}},
    }


def test_the_curve_is_the_accuracy_over_thresholds(result):
    panels = matching_figure(result).axes
    assert [panel.get_title() for panel in panels] == [
        "all, 4 pairs",
        "viewpoint, 2 pairs",
    ]
    (curve,) = panels[0].lines
    assert list(curve.get_xdata()) == list(range(1, 11))
    assert list(curve.get_ydata()) == [t / 10 for t in range(1, 11)]


def test_each_extractor_is_a_point_at_its_latency_and_accuracy(result):
    panels = latency_figure(result).axes
    points = [panel.collections[0].get_offsets().tolist() for panel in panels]
    assert points == [[[12.5, 0.3]], [[12.5, 0.75]]]


def test_pictures_are_drawn_beside_the_result(result, tmp_path):
    path = tmp_path / "peers.json"
    path.write_text(json.dumps(result))
    assert main([str(path)]) == 0
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {"peers.json", "peers-matching.png", "peers-latency.png"}
