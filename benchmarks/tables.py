"""Regenerate the tables of the documents from the committed results.

    python -m benchmarks.tables

Rewrites, in each document, the text between a line like
<!-- table held-out.json | 320x240, 300 points --> and <!-- end -->: the table, then the
provenance of the figures. A result names the function that makes its table; words after
"|" are its further arguments, such as setting and split. Several files of
benchmarks.peak from one machine make one table. A block whose result does not exist yet
is left alone unless it holds a table.
"""

import importlib
import json
import re
import sys
from pathlib import Path
from typing import Any

from kpextract.errors import UsageError
from kpextract.files import replacing
from training import script

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
DOCUMENTS = (
    "README.md",
    "training/experiments/README.md",
    "benchmarks/README.md",
    "export/README.md",
    "docs/faq.md",
    "docs/formats.md",
    "docs/other-runtimes.md",
    "docs/video.md",
    "docs/mapping.md",
    "docs/scale.md",
    "examples/ros2/kpextract_ros/README.md",
)
BLOCK = re.compile(r"(<!-- table (.*?) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
SHOWN_HASH = 12  # digits


def provenance(result: dict[str, Any]) -> str:
    """Return hardware, date, commit and models of a result in one line."""
    machine = result["machine"]
    shown = machine.get("instructions")  # missing in older results
    cpu = f"{machine['cpu']} ({' '.join(shown)})" if shown else machine["cpu"]
    facts = [f"{cpu}, {machine['cores']} cores"]
    for gpu in machine.get("gpus") or ():
        facts.append(f"{gpu['name']}, driver {gpu['driver']}")
    facts += [machine["date"], f"commit {machine['commit']}"]
    models = models_of(result).items()
    facts += [f"{name} `{digest[:SHOWN_HASH]}`" for name, digest in models]
    return "; ".join(facts)


def table(result: dict[str, Any], *part: str) -> str:
    """Return a result's Markdown table, made by the function that the result names.

    Args:
        part: arguments of that function after the result, such as setting and split.

    Raises:
        UsageError: the result names no table.
    """
    if "table" not in result:
        raise UsageError(
            "the result names no table. Write it with the `table` of `write_result`."
        )
    module, _, function = result["table"].rpartition(".")
    return getattr(importlib.import_module(module), function)(result, *part)


def read(names: str) -> dict[str, Any]:
    """Read a result, or several of one machine and table as the "rows" of one."""
    results: list[dict[str, Any]] = [
        json.loads((RESULTS / name).read_text(encoding="utf-8"))
        for name in names.split()
    ]
    return results[0] if len(results) == 1 else results[0] | {"rows": results}


def models_of(result: dict[str, Any]) -> dict[str, str]:
    """Return the SHA-256 of each model of a result, by name."""
    if "extractor" not in result:
        return result.get("models", {})
    rows = [row["extractor"] for row in result.get("rows", [result])]
    return {extractor["model"]: extractor["sha256"] for extractor in rows}


def render(document: str) -> str:
    """Return the text of a document with its tables regenerated."""

    def block(match: re.Match[str]) -> str:
        name, *part = (word.strip() for word in match[2].split("|"))
        there = all((RESULTS / file).exists() for file in name.split())
        if not there and "|" not in match[3]:
            return match[0]
        result = read(name)
        made = f"\n{table(result, *part)}\n\n({provenance(result)})\n\n"
        return match[1] + made + match[4]

    return BLOCK.sub(block, document)


@script.command
def main(arguments: list[str] | None = None) -> None:
    """Run the command line; see the module's docstring."""
    script.parser("benchmarks.tables", __doc__).parse_args(arguments)
    for name in DOCUMENTS:
        path = ROOT / name
        before = path.read_text(encoding="utf-8")
        after = render(before)
        if after != before:
            with replacing(path) as temporary:
                temporary.write_text(after, encoding="utf-8")
            print(f"rewrote {name}")


if __name__ == "__main__":
    sys.exit(main())
