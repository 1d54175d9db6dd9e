"""The promises of docs/cpp.md: its commands and its C++."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import cv2
import onnxruntime
import pytest

from kpextract import Extractor, match
from kpextract.cli import main
from kpextract.geometry import estimate_geometry
from tests import documents
from tests.examples.building import GUIDE, HERE, ROOT, snippets

TEXT = GUIDE.read_text()
BLOCKS = [block.code.splitlines() for block in documents.snippets(TEXT, "bash")]
(
    (INSTALL, BUILD),
    (*DEBIAN_13, BUILD_ON_DEBIAN_12),
    (EXPORT, BENCH),
    (INSTALL_LIBRARY,),
    (MATCH,),
    (INSTALL_JSON, BUILD_ENGINE, BUILD_FOR_TENSORRT),
) = BLOCKS


@pytest.fixture(scope="module", autouse=True)
def _models(release, checkout):
    (checkout / "models").symlink_to(ROOT / "models")


def run(command, folders):
    """Run a command of the guide verbatim; CMake also searches `folders`."""
    variables = {
        "CMAKE_INCLUDE_PATH": ":".join(str(folder / "include") for folder in folders),
        "CMAKE_LIBRARY_PATH": ":".join(str(folder / "lib") for folder in folders),
    }
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, env=os.environ | variables
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_commands_are_those_that_are_run_here():
    assert INSTALL.startswith("sudo apt-get install -y g++ cmake libopencv-dev ")
    assert INSTALL_JSON == "sudo apt-get install -y nlohmann-json3-dev"
    assert DEBIAN_13[0].startswith("sudo apt-get install -y g++ cmake libopencv-dev ")
    assert DEBIAN_13[1].endswith(".venv/bin/pip install onnxruntime")


def test_the_library_is_built_on_debian_12(checkout, release):
    """Library and headers are where pip and Debian 13's package put them."""
    assert DEBIAN_13[-1].endswith("dpkg -x libonnxruntime-dev_*.deb onnxruntime")
    unpacked = checkout / "onnxruntime" / "usr" / "include"
    unpacked.mkdir(parents=True)
    (unpacked / "onnxruntime").symlink_to((release / "include").resolve())
    packages = checkout / ".venv" / "lib" / "python3.11" / "site-packages"
    packages.parent.mkdir(parents=True)
    packages.symlink_to(Path(onnxruntime.__file__).parents[1])
    run(BUILD_ON_DEBIAN_12, [])
    command = ["build-12/detect", "models/small.onnx", "examples/blocks.jpg"]
    features = Extractor().detect(cv2.imread(command[-1]))
    assert run(shlex.join(command), []).count("\n") == len(features) > 400


def test_the_build_command_runs(checkout, release):
    printed = run(BUILD, [release])
    assert (
        len([line for line in printed.splitlines() if re.match(r"[\d. ]+$", line)])
        == 1024
    )
    assert (checkout / "out.png").stat().st_size > 10_000


def test_the_matching_program_of_this_build_runs(checkout, release, photo, other_photo):
    found = re.match(r"(\d+) matches, (\d+) agree on\n\[", run(MATCH, [release]))
    both = Extractor().detect_batch([photo, other_photo])
    pairs = match(*both)
    assert int(found[1]) == pytest.approx(len(pairs), abs=2)  # near ties
    points = [f.keypoints[pairs[:, side]] for side, f in enumerate(both)]
    inliers = estimate_geometry(*points).inliers.sum()
    assert int(found[2]) == pytest.approx(inliers, abs=10)  # of another OpenCV
    assert (checkout / "matches.png").stat().st_size > 10_000


@pytest.mark.parametrize("name", snippets())
def test_its_cpp_runs(name, checkout, plain):
    done = subprocess.run([plain / name], cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""


def test_what_its_cpp_prints(checkout, plain, photo):
    first = subprocess.run([plain / "snippet0"], capture_output=True, text=True).stdout
    assert first.startswith("1024 keypoints, descriptors [64 x 1024], best [")
    x, y, score = map(float, re.findall(r"\d+\.\d+", first))
    best = Extractor().detect(photo)
    assert [x, y] == pytest.approx(best.keypoints[0], abs=1e-3)
    assert score == pytest.approx(best.scores[0], abs=1e-5)


def test_the_library_is_installed(checkout):
    run(INSTALL_LIBRARY, [])  # of the build above
    assert (checkout / "installed" / "include" / "kpextract" / "kpextract.hpp").exists()


def test_the_bench_runs(checkout):
    assert main(shlex.split(EXPORT)[1:]) == 0
    printed = run(BENCH, [])  # of the build above
    for model in ("models/small.onnx", "small.onnx"):
        assert re.search(rf"^{model}: network .* ms, extract .* ms", printed, re.M)


def test_the_engine_is_built(checkout):
    if "CI" not in os.environ:
        pytest.importorskip("tensorrt_rtx", reason='pip install ".[trt-build]"')
    assert main(shlex.split(BUILD_ENGINE)[1:]) == 0
    assert (checkout / "small.engine.json").is_file()


def test_the_variant_for_tensorrt_is_built(checkout, tensorrt, cuda_headers, tmp_path):
    """The commands of the guide work with the fake TensorRT."""
    (tmp_path / "include").symlink_to(HERE / "cpp" / "fake")
    (tmp_path / "cuda").mkdir()
    (tmp_path / "cuda" / "include").symlink_to(cuda_headers)
    (tmp_path / "lib").mkdir()
    for name in ("libnvinfer.so", "libcudart.so"):
        (tmp_path / "lib" / name).symlink_to(tensorrt / "libnvinfer.so")
    run(BUILD_FOR_TENSORRT, [tmp_path, tmp_path / "cuda"])
    assert (checkout / "build-trt" / "detect").is_file()
