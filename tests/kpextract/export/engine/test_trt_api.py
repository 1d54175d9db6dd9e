"""Every name of TensorRT that our code uses is there in each version that we support.

NVIDIA's bindings wheels hold the Python API without the libraries behind it; they load
with empty libraries in their place, so neither a GPU nor gigabytes are needed.
trt_bindings.txt lists them; .ci/run gets them into the folder that KPEXTRACT_BINDINGS
names. None is there of TensorRT 8.5.
"""

import ast
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from kpextract.export.engine.plan import WEAK_CONSTRAINT, WEAK_FLAGS

HERE = Path(__file__).parent
PINS = (HERE / "trt_bindings.txt").read_text().split()
FOLDER = "KPEXTRACT_BINDINGS"
IN_CI = "CI" in os.environ

CODE = (
    "kpextract/export/engine/plan.py",
    "kpextract/export/engine/progress.py",
    "kpextract/backends/trt.py",
    "kpextract/backends/trt_context.py",
    "kpextract/backends/trt_package.py",
)
# Classes of the variables (and attributes of self) that hold TensorRT's objects.
VARIABLES = {
    "builder": "Builder",
    "config": "IBuilderConfig",
    "context": "IExecutionContext",
    "engine": "ICudaEngine",
    "layer": "ILayer",
    "levels": "HardwareCompatibilityLevel",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "profile": "IOptimizationProfile",
    "refusal": "ParserError",
    "runtime": "Runtime",
    "tensor": "ITensor",
}
# Used only where the second is there, which the code asks for with getattr or hasattr.
GUARDED = {
    "HardwareCompatibilityLevel.AMPERE_PLUS": "HardwareCompatibilityLevel",
    "IBuilderConfig.hardware_compatibility_level": "HardwareCompatibilityLevel",
    "IBuilderConfig.progress_monitor": "IProgressMonitor",
    "ILayer.precision": "BuilderFlag.FP16",
    "ILayer.set_output_type": "BuilderFlag.FP16",
} | {
    f"BuilderFlag.{flag}": "BuilderFlag.FP16"
    for flag in (*WEAK_FLAGS.values(), WEAK_CONSTRAINT)
}
# One of the two ways to create a network.
STRONG = "NetworkDefinitionCreationFlag.STRONGLY_TYPED"
WEAK = {"NetworkDefinitionCreationFlag.EXPLICIT_BATCH", "BuilderFlag.FP16"}
# What is known of the versions, to see that the bindings are really asked.
REMOVED_IN_10 = "IBuilderConfig.max_workspace_size"
REMOVED_IN_11 = "BuilderFlag.FP16"
LOOKED_UP = {*GUARDED, *GUARDED.values(), STRONG, *WEAK, REMOVED_IN_10, REMOVED_IN_11}


def names_used(source):
    """Dotted names below `trt`, and Class.member of what `VARIABLES` hold."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        members = []
        while isinstance(node, ast.Attribute):
            members.insert(0, node.attr)
            node = node.value
        if isinstance(node, ast.Name):
            members.insert(0, node.id)
        for index, member in enumerate(members[:-1]):
            if member == "trt" and index == 0:
                names.add(".".join(members[1:]))
            elif member.lstrip("_") in VARIABLES:
                names.add(f"{VARIABLES[member.lstrip('_')]}.{members[index + 1]}")
    return names


def test_names_are_found():
    source = "trt.A.b(self._engine.c, engine.d.e)\nlog.f\ntrt.__version__"
    expected = {"A.b", "A", "ICudaEngine.c", "ICudaEngine.d", "__version__"}
    assert names_used(source) == expected


@pytest.fixture(scope="module")
def used(root):
    return set().union(*(names_used((root / name).read_text()) for name in CODE))


def without(reason):
    """Fail in CI, skip elsewhere: this cannot be checked here."""
    (pytest.fail if IN_CI else pytest.skip)(reason)


@pytest.fixture(scope="module")
def stubs(tmp_path_factory):
    """Folder of empty libraries under the names that each version links."""
    folder = tmp_path_factory.mktemp("stubs")
    for major in (8, 10, 11):
        for library in ("nvinfer", "nvonnxparser", "nvinfer_plugin", "nvparsers"):
            out = folder / f"lib{library}.so.{major}"
            command = ["cc", "-shared", "-fPIC", "-w", "-o", out, HERE / "trt_stubs.c"]
            try:
                subprocess.run(command, check=True)
            except FileNotFoundError:
                without("a C compiler, `cc`, is not installed")
    return folder


LOOK_UP = """
import importlib, json, operator, sys
trt = importlib.import_module(sys.argv[1])
def has(name):
    try:
        operator.attrgetter(name)(trt)
    except AttributeError:
        return False
    return True
print(json.dumps([trt.__version__, [name for name in sys.argv[2:] if has(name)]]))
"""


def look_up(module, names, **environment):
    """Version of a module, and which of the names it has; in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", LOOK_UP, module, *sorted(names)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    version, found = json.loads(done.stdout.splitlines()[-1])
    return version, set(found)


def check(used, found):
    """Check that every name used without a guard exists, and every guarded one."""
    names = used | set(GUARDED)
    needed = {n for n in names if n not in GUARDED or GUARDED[n] in found}
    assert needed - found == set()
    assert STRONG in found or found >= WEAK


@pytest.mark.parametrize("pin", PINS)
def test_every_name_that_we_use_is_there(pin, used, stubs, tmp_path):
    package, version = pin.split("==")
    if FOLDER not in os.environ:
        without(f"{FOLDER} names no folder of NVIDIA's bindings wheels; see .ci/run")
    pattern = f"{package.replace('-', '_')}-{version}-*.whl"
    wheels = sorted(Path(os.environ[FOLDER]).glob(pattern))
    if not wheels:
        without(f"no {pattern} in {os.environ[FOLDER]}")
    zipfile.ZipFile(wheels[0]).extractall(tmp_path)
    names = used | LOOKED_UP
    found_version, found = look_up(
        "tensorrt_bindings", names, PYTHONPATH=str(tmp_path), LD_LIBRARY_PATH=str(stubs)
    )
    assert version.startswith(found_version)
    major = int(version.split(".")[0])
    assert (REMOVED_IN_10 in found, REMOVED_IN_11 in found) == (major < 10, major < 11)
    check(used, found)


def test_every_name_that_we_use_is_there_in_tensorrt_rtx(used):
    if not IN_CI:
        pytest.importorskip("tensorrt_rtx", reason='pip install ".[trt-build]"')
    _, found = look_up("tensorrt_rtx", used | LOOKED_UP)
    check(used, found)
