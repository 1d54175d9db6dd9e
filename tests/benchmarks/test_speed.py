import json

import pytest

from benchmarks import speed, tables


def row(name, p50s, *, size=(640, 480), batch=1, budget=1000, stages=None):
    """Return a row of benchmarks.latency whose turns have these medians."""
    milliseconds = {"p50": sorted(p50s)[len(p50s) // 2], "p90": 20.0, "p99": 30.0}
    of_network = {
        "stages": {
            stage: {"p50": (stages or {}).get(stage, 0.0)} for stage in speed.STAGES
        },
        "total_over_inference": {"p50": 1.0625},
    }
    return {
        "extractor": name,
        "precision": "float32" if stages else None,
        "size": list(size),
        "batch": batch,
        "max_keypoints": budget,
        "milliseconds": milliseconds,
        "memory_mib": {"process": 123.4, "gpu": None},
        "turns": [{"p50": value} for value in p50s],
    } | (of_network if stages else {})


ORB = row("ORB (OpenCV 5.0.0)", [4.0, 8.0, 5.0])
STAGES = {"preprocess": 0.5, "inference": 9.0, "decode": 1.0}
SMALL = row("kpextract small 2", [12.0, 8.0, 10.0], stages=STAGES)
RESULT = {"reference": "kpextract small 2", "rows": [SMALL, ORB]}


def test_the_ratio_is_the_median_of_those_within_a_turn():
    rows = RESULT["rows"]
    assert speed.ratio(rows, SMALL, ORB["extractor"]) == 2.0  # of 3, 1 and 2
    assert speed.ratio(rows, ORB, SMALL["extractor"]) == 0.5
    assert speed.ratio(rows, ORB, ORB["extractor"]) == 1.0


def test_the_ratio_of_a_batch_is_that_of_one_image():
    batch = row(SMALL["extractor"], [32.0, 64.0, 40.0], batch=8, stages=STAGES)
    assert speed.ratio([ORB, batch], batch, ORB["extractor"]) == 1.0


@pytest.mark.parametrize("other", [{"size": (320, 240)}, {"budget": 500}])
def test_without_the_same_setting_there_is_no_ratio(other):
    alone = row(SMALL["extractor"], [1.0, 1.0, 1.0], **other)
    assert speed.ratio([ORB, alone], alone, ORB["extractor"]) is None


def test_the_table_has_the_first_setting_with_stages_of_networks():
    other = row(SMALL["extractor"], [1.0] * 3, size=(320, 240), stages=STAGES)
    result = RESULT | {"rows": [SMALL, ORB, other]}
    assert speed.table(result).splitlines() == [
        "| extractor | precision | ms p50 | ms p90 | ms p99 | ratio to ORB | "
        "preprocess | inference | decode | total / inference |",
        "| --- " * 10 + "|",
        "| kpextract small 2 | float32 | 10.00 | 20.00 | 30.00 | 2.00 | "
        "0.50 | 9.00 | 1.00 | 1.06 |",
        "| ORB (OpenCV 5.0.0) |  | 5.00 | 20.00 | 30.00 | 1.00 |  |  |  |  |",
    ]


def test_copies_have_columns_where_something_is_copied():
    gpu = row("x", [1.0], stages=STAGES | {"host to device": 0.25})
    head, _, line = speed.table({"reference": "x", "rows": [gpu]}).splitlines()
    assert "| preprocess | host to device | inference | decode |" in head
    assert "| 0.50 | 0.25 | 9.00 | 1.00 |" in line


def test_without_orb_ratios_are_to_the_first():
    result = {"reference": SMALL["extractor"], "rows": [SMALL]}
    assert "| ratio to kpextract small 2 |" in speed.table(result)


def test_settings_are_rows_and_extractors_are_columns():
    batch = row(SMALL["extractor"], [80.0] * 3, batch=8, stages=STAGES)
    assert speed.table(
        RESULT | {"rows": [SMALL, ORB, batch]}, "settings"
    ).splitlines() == [
        "| size | batch | budget | kpextract small 2 | ORB (OpenCV 5.0.0) |",
        "| --- | --- | --- | --- | --- |",
        "| 640x480 | 1 | 1000 | 10.0 | 5.0 |",
        "| 640x480 | 8 | 1000 | 10.0 |  |",
    ]


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    return tmp_path


EMPTY = "a\n<!-- table latency.json -->\n\nNot yet.\n\n<!-- end -->\nb\n"


def test_a_table_is_made_when_there_is_a_result(results):
    assert tables.render(EMPTY) == EMPTY
    card = {"name": "NVIDIA H200", "driver": "550.54"}
    machine = {"cpu": "A", "cores": 2, "date": "2026-01-01", "commit": "c"}
    result = RESULT | {
        "machine": machine | {"gpus": [card]},
        "table": "benchmarks.speed.table",
        "models": {"x": "a" * 64},
    }
    (results / "latency.json").write_text(json.dumps(result))
    made = tables.render(EMPTY)
    assert speed.table(result) in made
    assert "(A, 2 cores; NVIDIA H200, driver 550.54; 2026-01-01; commit c; x `a" in made
    assert "Not yet" not in made
    assert tables.render(made) == made


def test_a_table_whose_result_is_gone_is_an_error(results):
    with pytest.raises(FileNotFoundError, match=r"latency\.json"):
        tables.render(EMPTY.replace("Not yet.", "| a |"))
