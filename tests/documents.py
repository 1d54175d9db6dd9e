"""Extract and run the snippets of Markdown documents, and check their links."""

import re
import subprocess
import sys
from typing import NamedTuple


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
    """Run Python code whose traceback shows the lines of the document."""
    exec(compile("\n" * snippet.line + snippet.code, name, "exec"), namespace)


def run_bash(snippet, folder, programs):
    """Run Bash code in `folder` without its `pip install`; fail with its output.

    Args:
        programs: folder for stand-ins of `python` and `kpextract` that run those under
            test.
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
