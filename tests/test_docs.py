"""Test what the documents promise: snippets run, links lead somewhere.

Blocks marked python or bash are run, in order, in a folder that looks like the
checkout; the Python of a document shares one namespace, and `pip install` is left out.
What needs a camera, a GPU, root or minutes is marked console and not run. The commands
and the C++ of docs/cpp.md are run by tests/examples/test_cpp_guide.py.
"""

import ast
import importlib
import itertools
import re
import subprocess
import sys
import types
from pathlib import Path

import cv2
import pytest

from kpextract import __all__ as public_names
from kpextract import __version__, cli
from tests.documents import (
    MACHINE,
    OUTPUT,
    broken_links,
    figures_left_out,
    links,
    run_document,
    run_python,
    show,
    snippets,
    this_machine,
)

DOCS = Path(__file__).resolve().parents[1] / "docs"
DOCUMENTS = sorted(DOCS.glob("*.md"))
RUN = [path for path in DOCUMENTS if path.name != "cpp.md"]
LANGUAGES = {"python", "bash", "console", "text", "cpp", "cmake", "json", "{eval-rst}"}


def name(path):
    return path.name


@pytest.mark.parametrize("path", RUN, ids=name)
def test_snippets_run_and_print_what_is_shown(path, checkout, tmp_path):
    text = path.read_text()
    outputs = run_document(path, checkout, tmp_path)
    if not outputs:
        return
    ((_, shown, _),) = MACHINE.findall(text)
    here = this_machine()
    made = show(text, outputs, shown)
    if without_date(shown) != without_date(here):  # other machines, other figures
        text, made = figures_left_out(text), figures_left_out(made)
    assert text == made, "run python -m tests.documents"


def without_date(machine):
    return machine.rpartition(";")[0]


@pytest.mark.parametrize("path", RUN, ids=name)
def test_outputs_are_those_of_the_bundled_models(path):
    """The models come first, so that a new one calls for new outputs."""
    text = path.read_text()
    shown = [machine for _, machine, _ in MACHINE.findall(text)]
    models = this_machine().split(";")[:2]
    assert [machine.split(";")[:2] for machine in shown] == [models] * len(shown)
    assert bool(shown) == bool(OUTPUT.search(text))


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_every_block_says_what_it_is(path):
    fences = re.findall(r"^```(.*)$", path.read_text(), re.MULTILINE)
    assert len(fences) % 2 == 0
    assert set(fences[::2]) <= LANGUAGES
    assert set(fences[1::2]) <= {""}


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_links_and_pictures_exist(path):
    assert broken_links(path) == []


def test_the_index_has_every_document():
    assert set(links((DOCS / "README.md").read_text())) >= {
        path.name for path in DOCUMENTS if path.name != "README.md"
    }


def test_the_site_has_every_document():
    pages = (DOCS / "index.rst").read_text()
    for path in DOCUMENTS:
        assert f"   {path.stem}\n" in pages


def test_the_api_reference_has_every_public_name():
    reference = (DOCS / "api.md").read_text()
    modules = re.findall(r"automodule:: (\S+)", reference)
    documented = set(
        re.findall(r"auto(?:class|function):: kpextract\.(\w+)", reference)
    )
    for module in map(importlib.import_module, modules):
        documented |= {name for name in vars(module) if not name.startswith("_")}
    assert set(public_names) <= documented


def test_the_worked_example_of_a_command_runs(root, capsys, monkeypatch):
    text = (root / "CONTRIBUTING.md").read_text()
    (example,) = snippets(re.sub("(?m)^   ", "", text), "python")
    command = types.ModuleType("count")
    run_python(example, "CONTRIBUTING.md", vars(command))
    monkeypatch.setitem(cli.COMMANDS, "count", "Count the keypoints of a photo.")
    monkeypatch.setitem(sys.modules, "kpextract.cli.count", command)
    assert cli.main(["count", str(root / "examples" / "street-left.jpg")]) == 0
    assert capsys.readouterr().out == "1024\n"


def test_the_path_of_an_image_matches_the_code(root):
    """Each step calls the next, at most seven from `detect` to the network."""
    text = (root / "CONTRIBUTING.md").read_text()
    steps = re.findall(r"^\| \d \| `(\S+)`(?: in `(\S+)`)? \|", text, re.MULTILINE)
    assert steps[0][0] == "Extractor.detect"
    assert steps[-1][0] == "session.run"
    assert len(steps) <= 7
    file = None
    for (name, named), (following, _) in itertools.pairwise(steps):
        file = named or file
        called = calls_of(root / "kpextract" / file, *name.split("."))
        assert following.split(".")[1] in called, name


def calls_of(path, owner, method):
    """Return the names of the methods that a method calls."""
    tree = ast.parse(path.read_text())
    (body,) = (
        function
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and node.name == owner
        for function in node.body
        if isinstance(function, ast.FunctionDef) and function.name == method
    )
    return {
        node.func.attr
        for node in ast.walk(body)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }


def test_the_citation_is_of_this_version(root):
    assert f"\nversion: {__version__}\n" in (root / "CITATION.cff").read_text()
    assert f"\n## {__version__} " in (root / "CHANGELOG.md").read_text()


def test_every_picture_is_shown_and_small():
    shown = {
        Path(link.partition("#")[0]).name
        for document in (*DOCUMENTS, DOCS.parent / "README.md")
        for link in links(document.read_text())
    }
    for path in DOCS.glob("*.[jp][pn]g"):
        assert path.name in shown
        assert path.stat().st_size < 300_000


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_only_public_names_are_imported(path):
    lines = re.findall(r"^from kpextract import (.*)$", path.read_text(), re.MULTILINE)
    for names in lines:
        assert {name.strip() for name in names.split(",")} <= set(public_names)


@pytest.mark.parametrize(
    ("script", "out"),
    [("pictures.py", ""), ("coordinates.py", "coordinates.png")],
)
def test_the_pictures_are_those_that_are_drawn(script, out, tmp_path):
    command = [sys.executable, DOCS / "figures" / script, "--out", tmp_path / out]
    done = subprocess.run(command, cwd=DOCS.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    drawn = list(tmp_path.iterdir())
    assert drawn
    for path in drawn:
        picture, committed = (
            cv2.imread(str(folder / path.name)) for folder in (tmp_path, DOCS)
        )
        # Versions of OpenCV and matplotlib differ in a few lines and glyphs.
        assert cv2.absdiff(picture, committed).mean() < 5, path.name
