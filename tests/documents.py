"""Run the snippets of Markdown documents, show what they print, and check links.

    python -m tests.documents

Runs the documents that show outputs and rewrites, in each, the text between the lines
<!-- output --> and <!-- end --> with what the Python or Bash snippet before it printed
to standard output, and that between <!-- machine --> and <!-- end --> with the models,
versions and processor that printed it. Run it after a change of the bundled models.
"""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import cv2

from kpextract.system import hardware
from training import script

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
MODELS = ("small", "base")  # that documents run
OUTPUT = re.compile(
    r"^(<!-- output -->\n\n```text\n)(.*?)(^```\n\n<!-- end -->)$",
    re.DOTALL | re.MULTILINE,
)
MACHINE = re.compile(
    r"^(<!-- machine -->\n\n)(.*?)(\n\n<!-- end -->)$", re.DOTALL | re.MULTILINE
)
RUN = re.compile(
    r"^<!-- output -->$|^```(python|bash)\n(.*?)^```$", re.DOTALL | re.MULTILINE
)
SHOWN_HASH = 12  # digits


class Snippet(NamedTuple):
    """A fenced block and the line on which it begins."""

    language: str
    code: str
    line: int


def snippets(text, *languages):
    """Return the blocks in these languages, in order."""
    found = re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [
        Snippet(match[1], match[2], text.count("\n", 0, match.start(2)))
        for match in found
        if match[1] in languages
    ]


def run_python(snippet, name, namespace):
    """Run Python code whose traceback shows the lines of the document.

    Returns:
        What it printed to standard output.
    """
    code = compile("\n" * snippet.line + snippet.code, name, "exec")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, namespace)
    return printed.getvalue()


def run_bash(snippet, folder, programs):
    """Run Bash code in `folder` without its `pip install`; fail with its output.

    Args:
        programs: folder for stand-ins of `python` and `kpextract` that run those under
            test.

    Returns:
        What it printed to standard output.
    """
    for name, module in (("python", ""), ("kpextract", "-m kpextract")):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
        program.chmod(0o755)
    code = re.sub(r"^pip install .*?(&& |$)", "", snippet.code, flags=re.MULTILINE)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f'PATH="{programs}:$PATH"\n{code}'],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{snippet.code}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def run_document(path, folder, programs):
    """Run the Python and Bash of a document in order.

    Args:
        folder: looks like the checkout, and is the working directory.
        programs: as for `run_bash`.

    Returns:
        What each output of the document should show: the snippet before it printed it.
    """
    cv2.setRNGSeed(0)  # whatever this process has drawn before
    text, namespace, printed, shown = path.read_text(), {}, "", []
    for found in RUN.finditer(text):
        if found[1] is None:
            shown.append(printed)
            continue
        line = text.count("\n", 0, found.start(2))
        snippet = Snippet(found[1], found[2], line)
        if snippet.language == "python":
            printed = run_python(snippet, path, namespace)
        else:
            printed = run_bash(snippet, folder, programs)
    return shown


def show(text, outputs, machine):
    """Return a document's text with these outputs, printed by a machine."""
    assert len(OUTPUT.findall(text)) == len(outputs)
    left = iter(outputs)
    text = OUTPUT.sub(lambda found: found[1] + next(left) + found[3], text)
    return MACHINE.sub(lambda found: found[1] + machine + found[3], text)


def this_machine():
    """Return the models, versions, processor and date of outputs, as a line."""
    facts = hardware.describe(("onnxruntime", "opencv-python"))
    models = [
        f"{card['name']} {card['version']} `{card['sha256'][:SHOWN_HASH]}`"
        for name in MODELS
        for card in [json.loads((ROOT / "models" / f"{name}.json").read_text())]
    ]
    packages = [f"{name} {version}" for name, version in facts["packages"].items()]
    cpu = f"{facts['cpu']} ({' '.join(facts['instructions'])})"
    facts = [*models, *packages, cpu, facts["date"]]
    return f"(`python -m tests.documents` printed the outputs: {'; '.join(facts)})"


def figures_left_out(text):
    """Return text with one digit for each number and one space for each gap."""
    return re.sub(r"\s+", " ", re.sub(r"-?\d+(\.\d*)?", "0", text))


def links(text):
    """Return the targets of links and pictures inside the repository."""
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    return [target for target in targets if "://" not in target]


def broken_links(path):
    """Return the links of a document to files or headings that do not exist."""
    broken = []
    for link in links(path.read_text()):
        target, _, anchor = link.partition("#")
        aim = path.parent / target if target else path
        if not aim.exists() or (anchor and anchor not in _anchors(aim.read_text())):
            broken.append(link)
    return broken


def _anchors(text):
    """Return the #anchors of a document: its headings, as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    words = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in words}


@script.command
def main(arguments=None):
    """Run the command line; see the module's docstring."""
    parser = script.parser("tests.documents", __doc__)
    help_text = "documents (default: all of docs/)"
    parser.add_argument("documents", nargs="*", type=Path, help=help_text)
    named = parser.parse_args(arguments).documents
    for path in [each.resolve() for each in named] or sorted(DOCS.glob("*.md")):
        before = path.read_text()
        if not OUTPUT.search(before):
            continue
        with tempfile.TemporaryDirectory() as work:
            folder, programs = Path(work, "checkout"), Path(work, "programs")
            for each in (folder, programs):
                each.mkdir()
            (folder / "examples").symlink_to(ROOT / "examples")
            os.chdir(folder)
            outputs = run_document(path, folder, programs)
            os.chdir(ROOT)
        after = show(before, outputs, this_machine())
        if after != before:
            path.write_text(after)
            print(f"rewrote {path.name}")


if __name__ == "__main__":
    sys.exit(main())
