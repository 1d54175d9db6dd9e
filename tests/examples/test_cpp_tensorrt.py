"""The TensorRT variant of the C++ example, with fakes of TensorRT and CUDA.

Their engines are run by ONNX Runtime, so that the results are those of the ONNX file.
Compiled against NVIDIA's own headers of CUDA; not yet run on a GPU.
"""

import json
import re

import cv2
import pytest

from kpextract import Extractor
from tests.examples.driver import assert_same, drive, read_rows, refuse

SIDECAR = {
    "name": "small",
    "version": "2",
    "kind": "sparse",
    "precision": "float32",
    "weights_sha256": "0123abc",
    "tensorrt": {"package": "tensorrt", "version": "10.3.0"},
    "gpu": None,
    "hardware_compatible": True,
    "dla": None,
}
ORIN = {"name": "Orin", "compute_capability": "8.7"}
HERE = {"name": "Fake GPU", "compute_capability": "8.7"}  # reported by the fake


@pytest.fixture
def engine(tmp_path):
    """Return a function that writes an engine for the fake and returns its path."""

    def write(model, least=(64, 64), most=(480, 640), **changes):
        """Write an engine; `least` and `most` are (height, width)."""
        path = tmp_path / "small.engine"
        path.write_text(" ".join(map(str, ("FAKE", model, *least, *most))))
        sidecar = json.dumps(SIDECAR | changes, indent=2)
        path.with_name("small.engine.json").write_text(sidecar)
        return path

    return write


@pytest.fixture
def image(photo, tmp_path):
    """Return an image of odd size, (H, W, 3), and its path."""
    odd = photo[:350, :411]
    cv2.imwrite(str(tmp_path / "image.png"), odd)
    return odd, tmp_path / "image.png"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"descriptors": "float16"},
        {"size": (416, 352), "batch": 1},
        {"mask": True, "max_keypoints": 300},
    ],
    ids=str,
)
def test_an_engine_gives_what_its_model_gives(
    options, image, engine, model, tensorrt, tmp_path
):
    path = model(re.sub(r"\W+", "-", f"trt{options}"), **options)
    photo, file = image
    arguments = [engine(path), tmp_path / "rows", file, "--max", 500]
    mask = None
    if "mask" in options:
        mask = cv2.inRange(photo[:, :, 0], 0, 90)
        cv2.imwrite(str(tmp_path / "mask.png"), mask)
        arguments += ["--mask", tmp_path / "mask.png"]
    for extra in ([], ["--feature2d"]):
        drive(tensorrt, "extract", *arguments, *extra)
        expected = Extractor(path, max_keypoints=500).detect(photo, mask)
        assert_same(read_rows(tmp_path / "rows"), expected)


def test_calls_follow_one_another(photo, engine, model, tensorrt, tmp_path):
    cv2.imwrite(str(tmp_path / "cut.png"), photo[:100, :170])
    cv2.imwrite(str(tmp_path / "whole.png"), photo)
    for command in ("reuse", "share"):
        images = (tmp_path / "cut.png", tmp_path / "whole.png")
        assert drive(tensorrt, command, engine(model()), *images) == "0\n"


def test_info(image, engine, model, tensorrt, tmp_path):
    path = engine(model(), gpu=HERE, hardware_compatible=False)
    printed = drive(tensorrt, "extract", path, tmp_path / "rows", image[1])
    assert printed.splitlines() == [
        *("tensorrt", "Fake GPU", "float32", "small", "2", "0123abc")
    ]


def test_text_like_null_is_kept(image, engine, model, tensorrt, tmp_path):
    path = engine(model(), name="a: null b", gpu=None)
    printed = drive(tensorrt, "extract", path, tmp_path / "rows", image[1])
    assert printed.splitlines()[3] == "a: null b"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"gpu": ORIN, "hardware_compatible": False},
            r"ModelError: .* was built for a GPU Orin \(compute capability 8.7\), and "
            r"Fake GPU \(compute capability 8.7\) is here. Build it again",
        ),
        ({"kind": "dense"}, "ModelError: .* is an engine of a dense model: only a spa"),
        (
            {"least": (64, 64), "most": (320, 400)},
            "InvalidImageError: .* takes images from 64x64 to 400x320 .* got 416x352. ",
        ),
        (
            {"least": (400, 64)},
            "InvalidImageError: .* takes images from 64x400 to 640x480 .* got 416x352",
        ),
    ],
)
def test_engines_that_are_refused(
    changes, message, image, engine, model, tensorrt, tmp_path
):
    path = engine(model(), **changes)
    said = refuse(tensorrt, "extract", path, tmp_path / "rows", image[1])
    assert re.match(message, said), said


def test_damaged_files_are_refused(image, engine, model, tensorrt, tmp_path):
    def said(path):
        return refuse(tensorrt, "extract", path, tmp_path / "rows", image[1])

    path = engine(model())
    sidecar = path.with_name("small.engine.json")
    path.write_text("other")
    assert re.match(
        "ModelError: .* cannot be loaded: TensorRT says: the plan is of another "
        "version. It was built with tensorrt 10.3.0. Build it again here with",
        said(path),
    )
    for text in ("[", "[]", "", '{"kind": "sparse"'):
        sidecar.write_text(text)
        assert re.match("ModelError: .*json is not a JSON object. Build", said(path))
    # Of other types, each entry is as if it were missing.
    sidecar.write_text('{"kind": 1, "gpu": [": null"], "hardware_compatible": 1}')
    assert re.match(
        "ModelError: .* is an engine of an unknown model: only a spa", said(path)
    )
    sidecar.unlink()
    assert re.match(
        "ModelError: .*small.engine.json is not a file. It belongs to", said(path)
    )
    path.unlink()
    assert re.match("ModelError: .* is not a file. Write an engine with", said(path))


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        (
            "FAKE_NO_DEVICE",
            "no CUDA device: cudaGetDevice: CUDA says what the stand-in",
        ),
        ("FAKE_NO_MEMORY", "cudaMalloc: CUDA says what the stand-in says"),
        # TensorRT's last error, not the warning after it.
        ("FAKE_FAILS", ".*: TensorRT failed to run the engine: the stand-in fails."),
    ],
)
def test_failures_of_the_gpu(
    variable, message, image, engine, model, tensorrt, tmp_path
):
    arguments = ("extract", engine(model()), tmp_path / "rows", image[1])
    said = refuse(tensorrt, *arguments, **{variable: "1"})
    assert re.match(f"BackendUnavailableError: {message}", said), said
