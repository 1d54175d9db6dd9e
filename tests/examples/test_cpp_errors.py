"""Error messages of the C++ example."""

import re
import shutil
import subprocess

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest

from tests.examples.building import ROOT, cmake, pip_library
from tests.examples.driver import drive, read_rows, refuse

# A sparse model from elsewhere: as many rows as the image is high, which none of ours
# has. Its metadata say that it is ours.
FREE_ROWS = """
< ir_version: 8, opset_import: ["" : 17] >
g (uint8[1, H, W, 3] image) => (float[1, K, 2] keypoints, float[1, K] scores,
                                float[1, K, D] descriptors, int32[1] count)
< int64[1] axis = {2}, int64[1] eight = {8}, int32[1] none = {0} >
{
    pixels = Cast <to = 1> (image)
    scores = ReduceMean <axes = [2, 3], keepdims = 0> (pixels)
    column = Unsqueeze (scores, axis)
    keypoints = Concat <axis = 2> (column, column)
    rows = Shape (scores)
    shape = Concat <axis = 0> (rows, eight)
    descriptors = Expand (column, shape)
    count = Identity (none)
}
"""


@pytest.fixture
def files(photo, tmp_path):
    """Write the rejected images, by name: pictures, and matrices of other types."""
    matrices = {
        "float": np.zeros((32, 32, 3), np.float32),
        "two": np.zeros((32, 32, 2), np.uint8),
        "narrow": np.zeros((480, 15), np.uint8),
        "wrong-size": np.zeros((480, 639), np.uint8),
        "color-mask": np.zeros((480, 640, 3), np.uint8),
    }
    paths = {"photo": tmp_path / "photo.png", "none": tmp_path / "none.png"}
    cv2.imwrite(str(paths["photo"]), photo)
    for name, matrix in matrices.items():
        paths[name] = tmp_path / f"{name}.yml"
        storage = cv2.FileStorage(str(paths[name]), cv2.FileStorage_WRITE)
        storage.write("m", matrix)
        storage.release()
    return paths


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("{none}", "InvalidImageError: image must be .* got an empty one. Did cv::im"),
        ("{float}", "InvalidImageError: image must be .*, got 32x32 CV_32FC3. Convert"),
        ("{two}", "InvalidImageError: .* grey, BGR or BGRA, .*, got 32x32 CV_8UC2. "),
        (
            "{narrow}",
            "InvalidImageError: .* least 16 pixels a side, got 15x480 CV_8UC1",
        ),
        ("{photo} --max 0", "InvalidOptionError: max_keypoints must be .* 1, got 0"),
        ("{photo} --min 1.5", "InvalidOptionError: min_score must be .* got 1.5"),
        ("{photo} --min nan", "InvalidOptionError: min_score must be .* got nan"),
        ("{photo} --distance -1", "InvalidOptionError: min_distance must be .* got -1"),
        ("{photo} --distance nan", "InvalidOptionError: min_distance must .* got nan"),
        ("{photo} --distance inf", "InvalidOptionError: min_distance must .* got inf"),
        ("{photo} --distance 3", "InvalidOptionError: min_distance needs a dense mod"),
        ("{photo} --threads 0", "InvalidOptionError: num_threads must be .* 1, got 0"),
        ("{photo} --mask {photo}", "InvalidImageError: .* no mask input.* --mask"),
    ],
)
def test_images_that_are_refused(arguments, message, files, model, sanitized, tmp_path):
    given = arguments.format(**files).split()
    said = refuse(sanitized, "extract", model(), tmp_path / "rows", *given)
    assert re.search(message, said), said


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ("wrong-size", "size 640x480, got 639x480 CV_8UC1"),
        ("color-mask", "size 640x480, got 640x480 CV_8UC3"),
    ],
)
def test_masks_that_are_refused(mask, message, files, model, sanitized, tmp_path):
    path = model("mask", mask=True, max_keypoints=300)
    arguments = ("extract", path, tmp_path / "rows", files["photo"])
    said = refuse(sanitized, *arguments, "--mask", files[mask])
    assert said.startswith(
        f"InvalidImageError: mask must be CV_8UC1 of the image's {message}"
    )


def test_models_that_are_refused(files, model, sanitized, tmp_path):
    def said(path):
        return refuse(sanitized, "extract", path, tmp_path / "rows", files["photo"])

    assert re.match("ModelError: none.onnx is not a file. Write a", said("none.onnx"))
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    broken = said(tmp_path / "broken.onnx")
    assert re.match("ModelError: .*broken.onnx: ONNX Runtime cannot load it as", broken)
    floats = said(model("floats", kind="dense", input="float32", size=(640, 480)))
    assert re.match("ModelError: .* was exported with --input float32, for", floats)
    batches = said(model("batch-2", batch=2))
    assert re.match("ModelError: .* takes 2 images a call. Export it with", batches)
    fixed = said(model("fixed", size=(320, 240), batch=1))
    allowed = "takes images of 320x240 only .* got 640x480. Resize or crop the image"
    assert re.match(f"InvalidImageError: this model {allowed}", fixed)
    foreign = onnx.load(model())
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / "foreign.onnx")
    foreign = said(tmp_path / "foreign.onnx")
    assert re.match("ModelError: .* is not a kpextract model: its metadata", foreign)


def test_rows_that_are_not_fixed_are_refused(files, sanitized, tmp_path):
    path = tmp_path / "free.onnx"
    graph = onnx.parser.parse_model(FREE_ROWS)
    graph.metadata_props.add(key="kpextract.kind", value="sparse")
    onnx.save(graph, path)
    said = refuse(sanitized, "extract", path, tmp_path / "rows", files["photo"])
    assert re.match("ModelError: .*free.onnx gives -1 rows of descriptors of", said)


@pytest.mark.parametrize(("count", "rows"), [(10**9, 1024), (-5, 0)])
def test_a_count_that_is_out_of_range_is_bounded(
    count, rows, files, model, sanitized, tmp_path
):
    """AddressSanitizer stops at what is read beyond the rows."""
    graph = onnx.load(model())
    (writer,) = (node for node in graph.graph.node if "count" in node.output)
    writer.output[:] = ["real_count"]
    make = onnx.helper.make_node
    value = onnx.helper.make_tensor("value", onnx.TensorProto.INT32, [1], [count])
    shape = make("Shape", ["real_count"], ["count_shape"])
    constant = make("ConstantOfShape", ["count_shape"], ["count"], value=value)
    graph.graph.node.extend([shape, constant])
    path = tmp_path / "wrong.onnx"
    onnx.save(graph, path)
    drive(sanitized, "extract", path, tmp_path / "rows", files["photo"])
    assert len(read_rows(tmp_path / "rows").keypoints) == rows


def test_too_little_memory(model, plain, tmp_path):
    """The image fits into the memory limit of the process, the network does not."""
    cv2.imwrite(str(tmp_path / "large.png"), np.zeros((6000, 8000), np.uint8))
    arguments = ("extract", model(), tmp_path / "rows", tmp_path / "large.png")
    limit = ["prlimit", f"--as={1_500_000_000}"]
    command = [*limit, plain / "driver", *arguments, "--threads", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 3
    said = "BackendUnavailableError: ONNX Runtime failed to run the model"
    assert said in done.stderr


def test_headers_newer_than_the_library(release, model, photo, tmp_path):
    newer = tmp_path / "include"
    shutil.copytree(release / "include", newer)
    header = newer / "onnxruntime_c_api.h"
    text, count = re.subn(
        r"(#define ORT_API_VERSION) \d+", r"\1 9999", header.read_text()
    )
    assert count == 1
    header.write_text(text)
    cv2.imwrite(str(tmp_path / "photo.png"), photo)
    # The library from pip has another name than the one that programs link to.
    options = (
        f"ONNXRUNTIME_INCLUDE_DIR={newer}",
        f"ONNXRUNTIME_LIBRARY={pip_library()}",
    )
    build = tmp_path / "build"
    cmake(ROOT / "examples" / "cpp", build, *options, target="detect")
    command = [build / "detect", model(), tmp_path / "photo.png"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    version = onnxruntime.__version__
    assert f"ONNX Runtime {version} is older than the headers that" in done.stderr


def test_cmake_says_what_to_install(release, tmp_path):
    command = ["cmake", "-S", ROOT / "examples" / "cpp", "-B", tmp_path]
    missing = ["-DCMAKE_DISABLE_FIND_PACKAGE_OpenCV=ON"]
    done = subprocess.run([*command, *missing], capture_output=True, text=True)
    assert done.returncode != 0
    said = " ".join(done.stderr.split())
    assert "OpenCV was not found. Debian, Ubuntu: apt-get install libopencv" in said
    names = ("TENSORRT_INCLUDE_DIR", "TENSORRT_LIBRARY")
    names += ("CUDART_INCLUDE_DIR", "CUDART_LIBRARY")
    given = [f"-D{name}={tmp_path}" for name in names]
    missing = ["-DKPEXTRACT_TENSORRT=ON", "-DJSON_INCLUDE_DIR="]
    command[-1] = tmp_path / "tensorrt"
    done = subprocess.run([*command, *given, *missing], capture_output=True, text=True)
    assert done.returncode != 0
    said = " ".join(done.stderr.split())
    assert "nlohmann/json was not found. Debian, Ubuntu: apt-get install nlo" in said
