import json

import numpy as np

from benchmarks import memory
from kpextract import Extractor


def test_each_case_runs_and_the_image_has_its_type(monkeypatch):
    seen = []
    monkeypatch.setattr(memory, "PHOTO_12MP", (64, 48))
    monkeypatch.setattr(memory, "UHD", (96, 64))
    detect = Extractor.detect

    def watched(self, image, mask=None):
        seen.append((image.shape[1::-1], image.dtype))
        return detect(self, image, mask)

    monkeypatch.setattr(Extractor, "detect", watched)
    candidate = memory.open_candidate("small", memory.MAX_KEYPOINTS)
    for case in memory.CASES.values():
        case(candidate)
    assert {dtype.name for _, dtype in seen} == {"uint8", "uint16", "float32"}
    assert {(640, 480), (96, 64), (64, 48)} <= {size for size, _ in seen}


def test_types_show_the_same_photo():
    whole = memory._image((64, 48), np.uint8)
    assert (memory._image((64, 48), np.uint16) // 257 == whole).all()
    assert np.allclose(memory._image((64, 48), np.float32) * 255, whole)


def test_command_measures_in_processes_of_their_own(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(memory, "FOR_PEERS", ("640x480",))
    out = tmp_path / "memory.json"
    memory.main(["--extractors", "ORB", "--out", str(out)])
    result = json.loads(out.read_text())
    (row,) = result["rows"]
    assert row["case"] == "640x480"
    assert 0 < row["opened"] <= row["peak"]
    assert memory.table(result) in capsys.readouterr().out
