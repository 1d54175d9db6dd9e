"""The promises of docs/jetson.md: its commands, extras and files exist."""

import configparser
import json
import re
import shlex

from kpextract.cli import _parser
from tests.conftest import ROOT
from tests.documents import snippets

GUIDE = (ROOT / "docs" / "jetson.md").read_text()
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")
CONSOLE = [
    line.strip().removeprefix("$ ").split("  #")[0]
    for block in re.findall(r"```console\n(.*?)```", GUIDE, re.DOTALL)
    for line in block.splitlines()
]


def jetpacks():
    """Return the rows of the version table, by column."""
    lines = re.findall(r"^\| (.*) \|$", GUIDE, re.MULTILINE)
    head, _, *rows = (line.split(" | ") for line in lines)
    return [dict(zip(head, row, strict=True)) for row in rows]


def test_kpextract_accepts_its_commands():
    commands = [line for line in CONSOLE if line.startswith("kpextract ")]
    commands += re.findall(r"`(kpextract build .*?)`", GUIDE)
    assert len(commands) > 3
    for line in commands:
        _parser().parse_args(shlex.split(line)[1:])


def test_its_scripts_and_programs_are_there():
    (script,) = {line for line in CONSOLE if line.startswith("python examples")}
    assert (ROOT / script.split()[1]).is_file()
    folders = re.findall(r"cmake -S (\S+)", GUIDE)
    assert folders
    assert all((ROOT / folder / "CMakeLists.txt").is_file() for folder in folders)


def test_its_extras_are_ours():
    named = re.findall(r'pip install "\.\[(.*?)\]"', GUIDE)
    assert len(named) > 5
    for extras in named:
        assert set(extras.split(",")) <= set(SETUP["options.extras_require"])


def test_each_jetpack_has_its_python_and_its_cuda():
    """Old Pythons are refused; cuda-python stays below the next major CUDA version."""
    least = SETUP["options"]["python_requires"].removeprefix(">=")
    versions = {row["JetPack (L4T)"].split(".")[0]: row for row in jetpacks()}
    assert set(versions) == {"5", "6", "7"}
    for row in jetpacks():
        python = row["Ubuntu, Python"].split(", ")[1]
        runs = _version(python) >= _version(least)
        assert row["kpextract in Python"] == ("yes" if runs else "no")
        above = int(row["CUDA"].split(".")[0]) + 1
        assert (f'"cuda-python<{above}"' in row["install"]) == runs


def _version(text):
    return tuple(map(int, text.split(".")))


def test_the_sidecar_to_write_has_what_the_cpp_extractor_reads():
    (block,) = (s.code for s in snippets(re.sub(r"(?m)^   ", "", GUIDE), "json"))
    sidecar = json.loads(block)
    source = (ROOT / "examples" / "cpp" / "trt_extractor.cpp").read_text()
    read = set(re.findall(r'sidecar(?:\.text\(|\[)"(\w+)"', source))
    assert {"kind", "precision", "tensorrt", "gpu"} <= read <= set(sidecar)
    assert sidecar["kind"] == "sparse"
    small = json.loads((ROOT / "models" / "small.json").read_text())
    assert (sidecar["name"], sidecar["version"]) == (small["name"], small["version"])
