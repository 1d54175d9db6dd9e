"""Commands for kpextract on a Jetson, and the parsing of their output."""

import time
from pathlib import Path

import pytest

from kpextract.cli import _parser
from kpextract.modelfile import MODELS
from tests.examples.jetson import Busy, bench_result, engines


def test_kpextract_accepts_the_commands(tmp_path):
    for precision in engines.PRECISIONS:
        engine = engines.engine_path(tmp_path, precision)
        export, build = map(_options, engines.commands(engine, precision))
        assert export["fp16"] == (precision == "float16")
        assert export["kind"] == "sparse"
        assert (export["size"], export["batch"]) == ((640, 480), 1)
        assert export["max_keypoints"] == 1000
        assert export["out"] == Path(build["model"])
        assert build["out"] == engine
        assert build["package"] == "tensorrt"
        bench = _options(engines.bench_command(engine, "tensorrt"))
        assert bench["photo"].is_file()
        assert (bench["model"], bench["backend"]) == (str(engine), "tensorrt")
        assert (bench["size"], bench["batch"]) == ([(640, 480)], [1])
        assert (bench["max_keypoints"], bench["as_json"]) == ([1000], True)


def _options(words):
    return vars(_parser().parse_args(words))


def test_loading_an_engine_is_not_running_it(tmp_path, monkeypatch):
    def load(engine):
        time.sleep(0.2)
        return Busy()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(engines, "load", load)
    before = time.monotonic()
    began = engines.keep_busy(Path("small.engine"), 0.1)
    assert 0.2 <= began - before <= time.monotonic() - before - 0.1


def test_latency_of_anything_but_the_engine_is_refused():
    read, wanted = engines.read_bench, "tensorrt"
    assert read(bench_result("float16"), "float16", wanted) == (2.5, 2.61, 3.014)
    with pytest.raises(engines.StoppedError, match="ran on tensorrt in float32, not"):
        read(bench_result("float32"), "float16", wanted)
    with pytest.raises(engines.StoppedError, match="ran on onnx-cpu in float32, not"):
        read(bench_result("float32", "onnx-cpu"), "float32", wanted)


def test_what_kpextract_itself_prints_is_read(monkeypatch):
    monkeypatch.setattr(engines, "BACKEND", "onnx-cpu")
    monkeypatch.setattr(engines, "CALLS", 3)
    p50, p90, p99 = engines.bench(MODELS / "small.onnx", "float32")
    assert 1 < p50 <= p90 <= p99
