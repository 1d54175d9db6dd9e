import json

import pytest

from benchmarks.plots import (
    accuracy_figure,
    main,
    matching_figure,
    milliseconds_of,
    size_figure,
    sweep_figure,
)


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
    panels = accuracy_figure(result, {"x": 12.5}).axes
    points = [panel.collections[0].get_offsets().tolist() for panel in panels]
    assert points == [[[12.5, 0.3]], [[12.5, 0.75]]]


def test_extractors_of_one_color_have_two_markers(result):
    names = [f"extractor {index}" for index in range(11)]
    for part in result["figures"]["640x480, 1000 points"].values():
        part |= dict.fromkeys(names, part.pop("x"))
    curves = matching_figure(result).axes[0].lines
    assert len({(curve.get_color(), curve.get_marker()) for curve in curves}) == 11
    points = accuracy_figure(result, dict.fromkeys(names, 1.0)).axes[0].collections
    shapes = [len(point.get_paths()[0].vertices) for point in points]
    assert shapes[0] == shapes[9] != shapes[10]


def test_plots_are_drawn_next_to_the_result(result, tmp_path):
    path = tmp_path / "peers.json"
    path.write_text(json.dumps(result))
    assert main([str(path)]) == 0
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {"peers.json", "peers-matching.png", "peers-latency.png"}


def latency_row(size, p50, **other):
    row = {"extractor": "x", "size": size, "batch": 1, "max_keypoints": 1000}
    return row | {"milliseconds": {"p50": p50}} | other


@pytest.fixture
def latency():
    """Return a result of benchmarks.latency."""
    return {
        "models": {"x": "a"},
        "rows": [
            latency_row([640, 480], 10.0),
            latency_row([640, 480], 60.0, batch=8),
            latency_row([320, 240], 3.0),
            latency_row([640, 480], 9.0, max_keypoints=500),
            latency_row([640, 480], 5.0, extractor="y"),
        ],
    }


def test_the_line_of_an_extractor_goes_from_small_to_large(latency):
    (panel,) = size_figure(latency).axes
    line, other = panel.lines
    assert [list(points) for points in (line.get_xdata(), line.get_ydata())] == [
        [320 * 240, 640 * 480],
        [3.0, 10.0],
    ]
    assert list(other.get_ydata()) == [5.0]
    assert {tick.get_text() for tick in panel.get_xticklabels()} == {
        "640x480",
        "320x240",
    }


def test_latency_and_accuracy_are_those_of_one_model_and_setting(latency, result):
    assert milliseconds_of(latency, result | {"models": {"x": "a"}}) == {"x": 10.0}
    assert milliseconds_of(latency, result | {"models": {"x": "b"}}) == {}


def test_latency_plots_take_the_accuracy_of_the_peers_file(
    latency, result, tmp_path, capsys
):
    path = tmp_path / "latency.json"
    path.write_text(json.dumps(latency))
    assert main([str(path)]) == 2
    assert "peers.json" in capsys.readouterr().err
    for models, code in (({"x": "b"}, 2), ({"x": "a"}, 0)):
        accuracy = json.dumps(result | {"models": models})
        (tmp_path / "peers.json").write_text(accuracy)
        assert main([str(path)]) == code
    said = capsys.readouterr()
    assert "has the accuracy of no extractor" in said.err
    assert [line.split("/")[-1] for line in said.out.splitlines()] == [
        "latency-size.png",
        "latency-accuracy.png",
    ]


def test_sweeps_are_drawn_harder_to_the_right_with_their_intervals():
    levels = {"rotation": [0, 90, 180], "darkness": [1, 0.5, 0.1]}
    curve = {"mean": [3.0, 2.0, 1.0], "low": [2.5, 1.5, 0.5], "high": [4.0, 3.0, 2.0]}
    names = ("homography_accuracy_3", "correct_matches", "matching_accuracy_3")
    figures = {"x": dict.fromkeys(names, curve)}
    result = {"levels": levels, "sweeps": dict.fromkeys(levels, figures)}
    panels = sweep_figure(result, list(levels)).axes
    assert len(panels) == 6
    (line,) = panels[0].lines
    assert list(line.get_xdata()) == [0, 90, 180]
    assert list(line.get_ydata()) == [3, 2, 1]
    (band,) = panels[0].collections
    assert band.get_paths()[0].get_extents().y0 == 0.5
    assert band.get_paths()[0].get_extents().y1 == 4
    rotation, darkness = (panel.get_xlim() for panel in panels[:2])
    assert rotation[0] < rotation[1]
    assert darkness[0] > darkness[1]
    assert panels[1].get_xscale() == "log"
