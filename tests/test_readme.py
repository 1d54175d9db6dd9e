"""What the README promises: its commands, its Python, its figures."""

import json
import os
import re
import shlex
from pathlib import Path

import pytest

from benchmarks.tables import DOCUMENTS, RESULTS, render
from kpextract import __all__ as public_names
from kpextract.cli import main
from tests.documents import broken_links, links, run_python, snippets

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^(?:pip install .* && )?(kpextract .*)$", README, re.MULTILINE)


def test_there_are_two_set_up_commands():
    lines = [line for line in README.splitlines() if line.startswith("pip install")]
    assert len(lines) == 2
    assert lines[0].startswith('pip install ".[cpu]" && kpextract detect examples/')
    assert lines[1] == 'pip install ".[cpu,dev]" && pytest'


@pytest.mark.parametrize("command", COMMANDS)
def test_its_commands_run(command, checkout, capsys):
    arguments = shlex.split(command)[1:]
    if arguments[0] == "build" and "CI" not in os.environ:
        pytest.importorskip("tensorrt_rtx", reason='pip install ".[trt-build]"')
    assert main(arguments) == 0
    for argument in arguments:
        if argument.endswith((".png", ".npz", ".onnx", ".engine")):
            assert (checkout / argument).stat().st_size > 1000


def test_its_python_runs(checkout, capsys):
    blocks = snippets(README, "python")
    assert blocks
    for block in blocks:
        run_python(block, "README.md", {})


def test_its_links_lead_somewhere():
    assert links(README)
    assert broken_links(ROOT / "README.md") == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_tables_are_the_committed_results(name):
    document = (ROOT / name).read_text()
    assert render(document) == document


def test_the_figures_are_those_of_the_bundled_model():
    sidecar = json.loads((ROOT / "models" / "small.json").read_text())
    for name in ("held-out.json", "turned.json", "peers.json", "latency.json"):
        text = (RESULTS / name).read_text()
        assert sidecar["sha256"] in text
    assert sidecar["sha256"][:12] in README


def test_it_imports_only_public_names():
    for names in re.findall(r"from kpextract import (.*)", README):
        assert {name.strip() for name in names.split(",")} <= set(public_names)
