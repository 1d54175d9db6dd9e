import json

import numpy as np
import pytest

from benchmarks import process, scaling, scaling_point
from kpextract import Extractor


def points(values, key, of):
    return [{"value": str(x), "x": x, key: of(x)} for x in values]


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_the_exponent_of_an_exact_power(exponent):
    line = points([1, 2, 4, 32], "milliseconds", lambda x: 3 * x**exponent)
    assert scaling.fit(line, "milliseconds") == exponent


def test_the_exponent_is_a_least_squares_fit_of_logarithms():
    # Logarithms 0, 1, 1 over 0, 1, 2: the slope is 1/2.
    base = 4.0
    line = [
        {"x": base**0, "y": base**0},
        {"x": base**1, "y": base**1},
        {"x": base**2, "y": base**1},
    ]
    assert scaling.fit(line, "y") == 0.5


def test_small_images_are_shown_and_not_fitted():
    sizes = [scaling._amount(size) for size in scaling.SIZES]
    assert sizes[0] == 64 * 64
    assert sizes[-1] == 3840 * 2160
    line = points(sizes, "milliseconds", lambda x: x / 1000)
    assert [p["x"] for p in scaling.fitted("size", line)] == sizes[2:]
    assert scaling.fitted("batch", line) == line


@pytest.mark.parametrize(
    ("exponent", "shown"), [(1.0, "x^1.00"), (-0.001, "x^0.00"), (-0.51, "x^-0.51")]
)
def test_the_format_of_an_exponent(exponent, shown):
    assert scaling.power(exponent) == shown


def test_threads_go_up_to_the_cores(monkeypatch):
    for cores, threads in ((1, "1"), (2, "1 2"), (6, "1 2 4"), (16, "1 2 4 8 16")):
        monkeypatch.setattr(scaling.os, "cpu_count", lambda cores=cores: cores)
        assert " ".join(scaling.settings()["threads"]) == threads


def test_nothing_is_measured_without_peak_memory(monkeypatch):
    monkeypatch.setattr(scaling_point, "memory_mib", lambda field: None)
    with pytest.raises(SystemExit, match="on Linux only"):
        scaling_point.peak_memory()


def test_calls_are_timed_without_the_first(monkeypatch):
    # The clock advances by 1 s per reading, so each call takes a second.
    ticks = iter(range(100))
    monkeypatch.setattr(scaling_point.time, "perf_counter", lambda: next(ticks))
    monkeypatch.setattr(scaling_point, "SECONDS", 0)
    image = np.zeros((64, 64, 3), np.uint8)
    extractor = Extractor(backend="onnx-cpu")
    found = scaling_point.measure(extractor, [image, image])
    assert (found["milliseconds"], found["calls"]) == (1000.0, 2)
    assert 0 < found["loaded_mib"] <= found["peak_mib"]


def test_a_point_is_measured_with_the_given_options(capsys, monkeypatch, small):
    monkeypatch.setattr(scaling_point, "SECONDS", 0)
    asked = []

    def measure(extractor, batch):
        asked.append(([image.shape for image in batch], extractor))
        return {}

    monkeypatch.setattr(scaling_point, "measure", measure)
    words = ["small", "--size", "96x64", "--batch", "2", "--keypoints", "7"]
    assert scaling_point.main(words) == 0
    ((shapes, extractor),) = asked
    assert shapes == [(64, 96, 3)] * 2
    assert len(extractor.detect(np.zeros((64, 96, 3), np.uint8))) == 7
    assert json.loads(capsys.readouterr().out)["model"] == f"kpextract {small}"
    assert scaling_point.main(["nothing.onnx"]) == 2
    assert "nothing.onnx" in capsys.readouterr().err


@pytest.fixture
def short(monkeypatch):
    """Replace the process of each point by known figures."""

    def output(module, model, option, value):
        assert module == "benchmarks.scaling_point"
        if model == "broken":
            raise process.FailedError("no such model.")
        amount = scaling._amount(value)
        found = {"milliseconds": 2.0 * amount, "loaded_mib": 50.0, "calls": 9}
        found["peak_mib"] = 50.0 + (amount if option == "--batch" else 0)
        facts = {"model": f"kpextract {model} 2", "sha256": "0123456789abcdef"}
        return json.dumps(found | facts)

    monkeypatch.setattr(process, "output", output)


def test_the_command_writes_figures_and_a_picture(short, tmp_path, capsys):
    out = tmp_path / "scaling.json"
    assert scaling.main(["--out", str(out)]) == 0
    result = json.loads(out.read_text())
    assert result["models"] == {"kpextract small 2": "0123456789abcdef"}
    assert set(result["series"]) == {"size", "keypoints", "batch", "threads"}
    batch = result["series"]["batch"]
    assert batch["exponents"] == {"milliseconds": 1.0, "added_mib": 1.0}
    assert batch["range"] == ["1", "32"]
    assert result["series"]["size"]["range"] == ["320x240", "3840x2160"]
    assert result["series"]["keypoints"]["exponents"]["added_mib"] == 0.0
    shown = scaling.report(result)
    assert shown in capsys.readouterr().out
    assert shown.startswith(scaling.table(result))
    assert "| batch | 1 to 32 | x^1.00 | x^1.00 |" in shown.splitlines()
    assert "| batch 32 | 64.0 | 82 |" in shown.splitlines()
    assert (tmp_path / "scaling.png").stat().st_size > 10_000


def test_a_point_that_fails_is_named_and_nothing_is_written(short, tmp_path, capsys):
    out = tmp_path / "scaling.json"
    assert scaling.main(["--model", "broken", "--out", str(out)]) == 2
    assert capsys.readouterr().err.endswith("scaling: size 64x64: no such model.\n")
    assert not out.exists()


def test_the_picture_has_the_points_and_the_line(short, tmp_path):
    scaling.main(["--out", str(tmp_path / "x.json")])
    series = json.loads((tmp_path / "x.json").read_text())["series"]
    panel = scaling.scaling_figure(series).axes[2]
    dots, line = panel.lines
    assert list(dots.get_xdata()) == [1, 2, 4, 8, 16, 32]
    np.testing.assert_allclose(line.get_ydata(), dots.get_ydata())
    assert line.get_label() == "x^1.00"
