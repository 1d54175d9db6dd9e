"""The tables of the documents, from the committed results.

    python -m benchmarks.tables

Rewrites, in each document, what stands between a line like
<!-- table held-out.json | 320x240, 300 points --> and <!-- end -->: where the figures
come from, then the table. Setting and split (all, if none is named) choose the part of
a file that holds several, shown with the columns of a summary. Files of
benchmarks.peak that are named side by side, of one machine, make one table. What has
not been measured yet is left as it stands, as long as that is no table.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from benchmarks import (
    accuracy,
    duty,
    peak,
    peers,
    scaling,
    speed,
    streaming,
    sweeps,
    tasks,
    variants,
)
from kpextract.files import replacing
from training.experiments import ablation, architecture

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
DOCUMENTS = (
    "README.md",
    "training/experiments/README.md",
    "benchmarks/README.md",
    "export/README.md",
    "docs/video.md",
)
BLOCK = re.compile(r"(<!-- table (.*?) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
SHOWN_HASH = 12  # digits


def provenance(result: dict[str, Any]) -> str:
    """Hardware, date, commit and models of a result, one line."""
    machine = result["machine"]
    shown = machine.get("instructions")  # older results do not say
    cpu = f"{machine['cpu']} ({' '.join(shown)})" if shown else machine["cpu"]
    facts = [f"{cpu}, {machine['cores']} cores"]
    for gpu in machine.get("gpus") or ():
        facts.append(f"{gpu['name']}, driver {gpu['driver']}")
    facts += [machine["date"], f"commit {machine['commit']}"]
    models = result.get("models", {})
    facts += [f"{name} `{digest[:SHOWN_HASH]}`" for name, digest in models.items()]
    return "; ".join(facts)


def table(name: str, result: dict[str, Any], *part: str) -> str:
    """The Markdown table of a result file, or of its part (setting, split)."""
    if name == "ablation.json":
        return ablation.table({n: r["figures"] for n, r in result["rows"].items()})
    if name == "architecture.json":
        return architecture.table(result["rows"])
    if name == "duty.json":
        return duty.table(result)
    if name.startswith("latency"):
        return speed.table(result, *part)
    if name.startswith("peak"):
        return peak.table(result["rows"])
    if name == "scaling.json":
        return scaling.growth(result["series"])
    if name == "streaming.json":
        return streaming.table(result)
    if name.startswith("sweeps"):
        return sweeps.table(result)
    if name.startswith("tasks"):
        return tasks.table(result["tasks"][part[0] if part else "all"])
    if name == "variants.json":
        return variants.table(result["rows"])
    if not part:
        return accuracy.table(peers.rows(result))
    if part == ("summary",):
        return accuracy.table(accuracy.summary(peers.rows(result)))
    setting, split = (*part, "all")[:2]
    return accuracy.table(accuracy.summary(result["figures"][setting][split]))


def read(names: str) -> dict[str, Any]:
    """A result; of several files of benchmarks.peak, one that holds them as rows."""
    results: list[dict[str, Any]] = [
        json.loads((RESULTS / name).read_text(encoding="utf-8"))
        for name in names.split()
    ]
    if not names.startswith("peak"):
        return results[0]
    models = {r["extractor"]["model"]: r["extractor"]["sha256"] for r in results}
    return {"machine": results[0]["machine"], "models": models, "rows": results}


def render(document: str) -> str:
    """A document's text with its tables made anew."""

    def block(match: re.Match[str]) -> str:
        name, *part = (word.strip() for word in match[2].split("|"))
        there = all((RESULTS / file).exists() for file in name.split())
        if not there and "|" not in match[3]:
            return match[0]
        result = read(name)
        made = f"\n{table(name, result, *part)}\n\n({provenance(result)})\n\n"
        return match[1] + made + match[4]

    return BLOCK.sub(block, document)


def main() -> int:
    """Command line; see the module's docstring."""
    for name in DOCUMENTS:
        path = ROOT / name
        before = path.read_text(encoding="utf-8")
        after = render(before)
        if after != before:
            with replacing(path) as temporary:
                temporary.write_text(after, encoding="utf-8")
            print(f"rewrote {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
