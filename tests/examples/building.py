"""Locate the dependencies of the C++ example, and build it."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import onnxruntime

from tests import documents

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
GUIDE = ROOT / "docs" / "cpp.md"
INSTALL = (
    "apt-get install g++ cmake libopencv-dev libonnxruntime-dev nlohmann-json3-dev"
)
PROBE = """
cmake_minimum_required(VERSION 3.13)
project(probe CXX)
find_package(OpenCV REQUIRED)
"""


def find_headers(name, *patterns):
    """Return the folder that holds a header, or another file, or None.

    It is searched below KPEXTRACT_CPP, which .ci/run fills, and below the system root.
    """
    given = os.environ.get("KPEXTRACT_CPP")
    folders = [
        path for pattern in patterns for path in Path(given or "/").glob(pattern)
    ]
    return next((folder for folder in folders if (folder / name).is_file()), None)


def missing():
    """Return the missing dependencies of the build."""
    tools = [tool for tool in ("cmake", "c++") if not shutil.which(tool)]
    if tools:
        return tools
    # Not `cmake --find-package`: it takes the first architecture in /lib for its own.
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "CMakeLists.txt").write_text(PROBE)
        command = ["cmake", "-S", folder, "-B", f"{folder}/build"]
        found = subprocess.run(command, capture_output=True)
    opencv = [] if found.returncode == 0 else ["OpenCV's headers"]
    return opencv + ([] if onnxruntime_headers() else ["ONNX Runtime's headers"])


def onnxruntime_headers():
    return find_headers("onnxruntime_cxx_api.h", "include", "usr/include/onnxruntime")


def pip_library():
    (library,) = (Path(onnxruntime.__file__).parent / "capi").glob(
        "libonnxruntime.so.*"
    )
    return library


def cmake(source, build, *options, target="all"):
    """Configure and build, and return the output of both."""
    settings = [f"-D{option}" for option in options]
    printed = ""
    for command in (
        ["cmake", "-S", source, "-B", build, *settings],
        ["cmake", "--build", build, "--parallel", "2", "--target", target],
    ):
        done = subprocess.run(command, text=True, capture_output=True)
        printed += done.stdout + done.stderr
        assert done.returncode == 0, printed
    return printed


def opencv_version(build):
    """Return the version of OpenCV that a build found."""
    cache = (build / "CMakeCache.txt").read_text()
    folder = Path(re.search(r"OpenCV_DIR:PATH=(.*)", cache)[1])
    text = (folder / "OpenCVConfig-version.cmake").read_text()
    return re.search(r"OpenCV_VERSION (\S+)\)", text)[1]


def snippets():
    """Return the C++ snippets of the guide, by program name."""
    blocks = documents.snippets(GUIDE.read_text(), "cpp")
    return {f"snippet{number}": block.code for number, block in enumerate(blocks)}


def orb_version():
    """Return the matching program with its original line for ORB."""
    source = (ROOT / "examples" / "cpp" / "match_photos.cpp").read_text()
    before = re.search(r"// was: (.*\n)", source)[1]
    return re.sub(r"(// was: .*\n\s*).*\n", rf"\g<1>{before}", source)
