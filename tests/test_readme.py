"""The promises of the README: its commands, Python snippets and figures."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import peers
from benchmarks.tables import DOCUMENTS, RESULTS, render
from kpextract import __all__ as public_names
from kpextract.cli import main
from kpextract.modelfile import bundled_models
from tests.documents import broken_links, links, run_python, snippets

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(
    r"^(?:pip install .* && )?((?:kpextract|python) .*)$", README, re.MULTILINE
)


def test_it_is_short():
    assert len(README.splitlines()) <= 130


def test_there_are_two_set_up_commands():
    lines = [line for line in README.splitlines() if line.startswith("pip install")]
    assert len(lines) == 2
    assert lines[0].startswith('pip install ".[cpu]" && kpextract detect examples/')
    assert lines[1] == 'pip install ".[cpu,dev]" && pytest'


@pytest.mark.parametrize("command", COMMANDS)
def test_its_commands_run(command, checkout, capsys):
    program, *arguments = shlex.split(command)
    if program == "python":
        subprocess.run([sys.executable, *arguments], check=True)
        return
    if arguments[0] == "build" and "CI" not in os.environ:
        pytest.importorskip("tensorrt_rtx", reason='pip install ".[trt-build]"')
    assert main(arguments) == 0
    for argument in arguments:
        if argument.endswith((".png", ".npz", ".onnx", ".engine")):
            assert (checkout / argument).stat().st_size > 1000


def test_its_export_run_twice_says_how_to_replace_the_file(tmp_path, capsys):
    (command,) = (c for c in COMMANDS if c.startswith("kpextract export"))
    _, *arguments, name = shlex.split(command)
    path = tmp_path / name
    arguments.append(str(path))
    assert main(arguments) == 0
    content = path.read_bytes()
    capsys.readouterr()
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert f"{path}, {path.with_suffix('.json')} exists" in error
    assert "--force to replace it" in error
    assert error.count("\n") == 1
    assert main([*arguments, "--force"]) == 0
    assert path.read_bytes() == content


def test_its_python_runs(checkout, capsys):
    blocks = snippets(README, "python")
    assert blocks
    namespace = {}
    for block in blocks:
        run_python(block, "README.md", namespace)


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


def test_its_three_reasons_are_committed_results():
    result = json.loads((RESULTS / "peers.json").read_text())
    rows = {name.split(" (")[0]: row for name, row in peers.rows(result).items()}
    small, large = rows["kpextract small 4"], rows["kpextract small 4 @1.5"]
    orb = rows["ORB"]
    int8, tiny = rows["kpextract small-int8 4"], rows["kpextract tiny-int8 1"]
    text = " ".join(README.split())
    for claim in (
        f"Over {result['pairs']['all']} real image pairs",
        f"{small['homography_accuracy_3']:.0%}".replace("%", " % of the homographies"),
        f"{large['homography_accuracy_3']:.0%} on enlarged".replace("%", " %"),
        f"with ORB, {orb['homography_accuracy_3']:.0%}".replace("%", " %."),
        f"takes {small['milliseconds']:.1f} ms on two cores",
        f"in 8-bit integers, {int8['milliseconds']:.1f} ms",
        f"in 8-bit integers takes {tiny['milliseconds']:.1f} ms, ORB "
        f"{orb['milliseconds']:.1f}.",
    ):
        assert claim in text
    assert result["machine"]["cores"] == 2
    assert rows["XFeat"]["milliseconds"] / small["milliseconds"] > 3
    assert rows["ALIKED-T16"]["milliseconds"] / small["milliseconds"] == pytest.approx(
        24, abs=0.5
    )
    size = (ROOT / "models" / "small.onnx").stat().st_size
    assert f"The default model is {size / 1e6:.1f} MB" in text


def test_its_table_of_models_is_that_of_the_files():
    rows = re.findall(r"^\| `(.*)` \| (.*) \| (.*) \| .* \| .* \|$", README, re.M)
    assert {name for name, _, _ in rows} == set(bundled_models())
    for name, megabytes, width in rows:
        size = (ROOT / "models" / f"{name}.onnx").stat().st_size
        assert megabytes == f"{size / 1e6:.1f}"
        sidecar = json.loads((ROOT / "models" / f"{name}.json").read_text())
        assert int(width) == sidecar["descriptor_dim"]


def test_it_imports_only_public_names():
    for names in re.findall(r"from kpextract import (.*)", README):
        assert {name.strip() for name in names.split(",")} <= set(public_names)
