"""Nothing is reported to anybody, and nothing is written but what was asked for."""

import ast
import os
import subprocess
import sys

import pytest

VARIABLE = "ORT_DISABLE_TELEMETRY"
# Whoever imports it in these modules has called `packages.import_onnxruntime` before.
AFTER_US = {"kpextract/backends/onnx_sessions.py", "kpextract/export/graph/int8.py"}


@pytest.fixture
def home(tmp_path):
    """Return the environment of a user with a new home, not of a CI service."""
    kept = {k: v for k, v in os.environ.items() if k not in (VARIABLE, "CI")}
    kept = {k: v for k, v in kept.items() if not k.startswith("XDG_")}
    return kept | {"HOME": str(tmp_path)}


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "kpextract", "detect", "{photo}", "--json"],
        ["-m", "kpextract", "doctor", "--json"],
        ["-c", "import kpextract; kpextract.Extractor()"],
        ["-c", "from kpextract.system.probe import module; module('onnxruntime')"],
    ],
    ids=["detect", "doctor", "extractor", "probe"],
)
def test_a_new_home_folder_stays_empty(home, tmp_path, root, command):
    photo = str(root / "examples" / "blocks.jpg")
    words = [photo if word == "{photo}" else word for word in command]
    subprocess.run(
        [sys.executable, *words], env=home, cwd=root, check=True, capture_output=True
    )
    assert list(tmp_path.rglob("*")) == []


def test_events_are_off_where_the_caller_was_first(home, root):
    script = """
import onnxruntime
calls = []
onnxruntime.disable_telemetry_events = lambda: calls.append(1)
from kpextract import Extractor
Extractor()
assert calls
"""
    subprocess.run([sys.executable, "-c", script], env=home, cwd=root, check=True)


def imports_onnxruntime(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        if any(name.split(".")[0] == "onnxruntime" for name in names):
            return True
    return False


def test_everybody_imports_onnx_runtime_through_packages(root):
    rooms = ("kpextract", "export", "training", "benchmarks", "examples")
    found = {
        path.relative_to(root).as_posix()
        for room in rooms
        for path in (root / room).rglob("*.py")
        if imports_onnxruntime(path)
    }
    assert found == AFTER_US
