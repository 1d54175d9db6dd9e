"""Where what the C++ example needs is, and how it is built."""

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
INSTALL = "apt-get install g++ cmake libopencv-dev libonnxruntime-dev"


def find_headers(name, *patterns):
    """The folder that holds a header, or None.

    Below KPEXTRACT_CPP, which .ci/run fills, or below the system's root.
    """
    given = os.environ.get("KPEXTRACT_CPP")
    folders = [
        path for pattern in patterns for path in Path(given or "/").glob(pattern)
    ]
    return next((folder for folder in folders if (folder / name).is_file()), None)


def missing():
    """What is not installed of what building needs."""
    tools = [tool for tool in ("cmake", "c++") if not shutil.which(tool)]
    if tools:
        return tools
    find = "cmake --find-package -DNAME=OpenCV -DCOMPILER_ID=GNU -DLANGUAGE=CXX"
    with tempfile.TemporaryDirectory() as folder:  # it leaves files where it runs
        found = subprocess.run(
            [*find.split(), "-DMODE=EXIST"], capture_output=True, cwd=folder
        )
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
    """Configure and build; what both printed."""
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


def snippets():
    """The C++ of the guide, by the name of a program."""
    blocks = documents.snippets(GUIDE.read_text(), "cpp")
    return {f"snippet{number}": block.code for number, block in enumerate(blocks)}


def orb_version():
    """The matching program with the line that it had before."""
    source = (ROOT / "examples" / "cpp" / "match_photos.cpp").read_text()
    before = re.search(r"// was: (.*\n)", source)[1]
    return re.sub(r"(// was: .*\n\s*).*\n", rf"\g<1>{before}", source)
