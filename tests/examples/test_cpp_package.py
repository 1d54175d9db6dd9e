"""The C++ library as a dependency: installed, fetched, and by its presets."""

import json
import re
import subprocess

import pytest

import kpextract
from kpextract import Extractor
from tests import documents
from tests.examples.building import GUIDE, ROOT, cmake, pip_library, snippets

SOURCE = ROOT / "examples" / "cpp"
FIND, FETCH = (block.code for block in documents.snippets(GUIDE.read_text(), "cmake"))
PROJECT = """cmake_minimum_required(VERSION 3.18)
project(robot CXX)
add_executable(robot robot.cpp)
install(TARGETS robot DESTINATION bin)
"""
FIRST = snippets()["snippet0"]
USES_TENSORRT = """#include "trt_extractor.hpp"
int main() { return kpextract::TrtExtractor("x.engine").descriptor_dim(); }
"""


@pytest.fixture
def robot(tmp_path):
    """Return a function that builds a project which uses the library."""

    def build(how, *options, program=FIRST):
        """Return the folder of the build; `how` is a snippet of the guide."""
        project = tmp_path / "robot"
        project.mkdir()
        (project / "CMakeLists.txt").write_text(PROJECT + how)
        (project / "robot.cpp").write_text(program)
        cmake(project, project / "build", *options)
        return project / "build"

    return build


@pytest.fixture(scope="module")
def installed(release, tmp_path_factory):
    folder = tmp_path_factory.mktemp("installed")
    options = (f"ONNXRUNTIME_ROOT={release}", "KPEXTRACT_PROGRAMS=OFF")
    install(folder, *options)
    return folder / "prefix"


def install(folder, *options):
    """Build the library and install it below `folder`."""
    cmake(SOURCE, folder / "build", *options)
    command = ["cmake", "--install", folder / "build", "--prefix", folder / "prefix"]
    subprocess.run(command, check=True, capture_output=True)


def assert_it_runs(build, photo, folder):
    """Run the first program of the guide, and compare with Python."""
    (folder / "models").symlink_to(ROOT / "models")
    (folder / "examples").symlink_to(ROOT / "examples")
    done = subprocess.run(
        [build / "robot"], cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert done.stdout.startswith("1024 keypoints, descriptors [64 x 1024], best [")
    x, y, _ = map(float, re.findall(r"\d+\.\d+", done.stdout))
    assert [x, y] == pytest.approx(Extractor().detect(photo).keypoints[0], abs=1e-3)


def test_an_installed_package_is_found(installed, robot, photo, tmp_path):
    build = robot(FIND, f"CMAKE_PREFIX_PATH={installed}")
    assert_it_runs(build, photo, tmp_path)


def test_another_onnx_runtime_may_be_given(installed, robot, release, tmp_path):
    """The library's own file, as pip has it, in place of that of the build."""
    options = (
        f"CMAKE_PREFIX_PATH={installed}",
        f"ONNXRUNTIME_INCLUDE_DIR={release / 'include'}",
        f"ONNXRUNTIME_LIBRARY={pip_library()}",
    )
    build = robot(FIND, *options)
    assert (build / "libonnxruntime.so.1").resolve() == pip_library().resolve()
    needed = subprocess.run(["ldd", build / "robot"], capture_output=True, text=True)
    assert f"libonnxruntime.so.1 => {build / 'libonnxruntime.so.1'}" in needed.stdout


def test_only_library_headers_and_package_are_installed(installed):
    files = {p.relative_to(installed).as_posix() for p in installed.rglob("*.*")}
    package = "lib/cmake/kpextract"
    assert {f for f in files if not f.startswith(package)} == {
        *("lib/libkpextract.a", "include/kpextract/kpextract.hpp"),
        "include/kpextract/feature2d.hpp",
    }
    assert f"{package}/kpextractConfigVersion.cmake" in files


def test_its_version_is_that_of_the_python_package(installed, robot):
    text = (SOURCE / "CMakeLists.txt").read_text()
    assert f"project(kpextract VERSION {kpextract.__version__} " in text
    newer = FIND.replace("kpextract 0.1", "kpextract 0.2")
    assert newer != FIND
    with pytest.raises(AssertionError, match="compatible with requested version"):
        robot(newer, f"CMAKE_PREFIX_PATH={installed}")


def test_a_checkout_is_fetched(robot, release, photo, tmp_path):
    build = robot(
        FETCH,
        f"FETCHCONTENT_SOURCE_DIR_KPEXTRACT={ROOT}",
        f"ONNXRUNTIME_ROOT={release}",
    )
    assert_it_runs(build, photo, tmp_path)
    # Neither its programs nor its installation are the project's.
    assert [path.name for path in build.rglob("detect")] == []
    command = ["cmake", "--install", build, "--prefix", tmp_path / "prefix"]
    subprocess.run(command, check=True, capture_output=True)
    there = [p.name for p in (tmp_path / "prefix").rglob("*") if p.is_file()]
    assert there == ["robot"]


def test_the_variant_for_tensorrt_is_found(tensorrt, cuda_headers, robot, tmp_path):
    """With stand-ins for both libraries; not run."""
    fake = tensorrt / "libnvinfer.so"
    install(
        tmp_path,
        *("KPEXTRACT_TENSORRT=ON", "KPEXTRACT_PROGRAMS=OFF"),
        f"TENSORRT_INCLUDE_DIR={ROOT / 'tests' / 'examples' / 'cpp' / 'fake'}",
        f"CUDART_INCLUDE_DIR={cuda_headers}",
        f"TENSORRT_LIBRARY={fake}",
        f"CUDART_LIBRARY={fake}",
    )
    prefix = tmp_path / "prefix"
    build = robot(FIND, f"CMAKE_PREFIX_PATH={prefix}", program=USES_TENSORRT)
    assert (build / "robot").is_file()


def test_presets(release, tmp_path):
    presets = json.loads((SOURCE / "CMakePresets.json").read_text())
    names = [preset["name"] for preset in presets["configurePresets"]]
    assert names == ["onnxruntime", "tensorrt", "debug"]
    for name in ("onnxruntime", "debug"):
        build = tmp_path / name
        command = ["cmake", "--preset", name, "-B", build]
        given = f"-DONNXRUNTIME_ROOT={release}"
        subprocess.run([*command, given], cwd=SOURCE, check=True, capture_output=True)
        cache = (build / "CMakeCache.txt").read_text()
        assert ("fsanitize=address" in cache) == (name == "debug")
