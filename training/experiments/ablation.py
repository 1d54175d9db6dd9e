"""Measure what each part of the training contributes.

    python -m training.experiments.ablation --data photos/ --held-out val/ \\
        --out runs/ablation

Trains one short run of equal length per row and measures it on held-out photos. Prints
a table that names each row's options of `python -m training.train`, and writes
ablation.json to --results.
"""

import sys
from typing import Any

from benchmarks import markdown
from benchmarks.machine import write_result
from training.config import TrainConfig
from training.experiments.sweep import FIGURES, cells, headings, parse, sweep

# The paper's descriptor losses instead of ours; the weights match the paper's balance
# for means.
HINGE = {"contrastive": 0.0, "descriptor": 2.1, "decorrelation": 2.8}
# Overrides of TrainConfig by the name of the row.
ROWS: dict[str, dict[str, Any]] = {
    "default": {},
    "default, other seed": {"seed": 1},
    "no position loss": {"loss_weights": {"position": 0.0}},
    "no score consistency": {"loss_weights": {"score": 0.0}},
    "no usp": {"loss_weights": {"usp": 0.0}},
    "no descriptor loss": {"loss_weights": {"contrastive": 0.0}},
    "cost without retrieval": {"loss_weights": {"retrieval": 0.0}},
    "cost without doubles": {"loss_weights": {"double": 0.0}},
    "hinge for dual softmax": {"loss_weights": HINGE},
    "hinge, no decorrelation": {"loss_weights": HINGE | {"decorrelation": 0.0}},
    "positions bound to the cell": {"network": {"position_reach": 0.5}},
    "positions reach 0.875 cells": {"network": {"position_reach": 0.875}},
    "descriptor map at 1/4": {"network": {"descriptor_stride": 4}},
    "descriptor of 128": {"network": {"descriptor_dim": 128}},
    "descriptor of 256": {"network": {"descriptor_dim": 256}},
    "no rotation ramp": {"ramp": 0.0},
    "last 20 % at twice the side": {"finish": 0.2},
    "paper": {"recipe": "paper", "network": {"position_reach": 0.5}},
}


def command_options(changes: dict[str, Any]) -> str:
    """Format the overrides as options of `python -m training.train`."""
    words = []
    for name, value in changes.items():
        words.append("--" + name.replace("_", "-"))
        if isinstance(value, dict):
            words += [f"{key}={entry}" for key, entry in value.items()]
        else:
            words.append(str(value))
    return " ".join(words)


def table(result: dict[str, Any]) -> str:
    """Return Markdown, in the order of the result's rows."""
    head = ["row", "options", *headings(FIGURES)]
    rows = []
    for name, row in result["rows"].items():
        shown = f"`{row['options']}`" if row["options"] else ""
        rows.append([name, shown, *cells(row["figures"], FIGURES)])
    return markdown.table(head, rows)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; see the module docstring."""
    options = parse("training.experiments.ablation", __doc__, arguments)
    configs = {
        name: TrainConfig(steps=options.steps, validations=1, **changes)
        for name, changes in ROWS.items()
    }
    results = sweep(configs, options.data, options.held_out, options.out)
    rows = {
        name: {"options": command_options(ROWS[name]), "figures": figures}
        for name, figures in results.items()
    }
    result = {"steps": options.steps, "rows": rows}
    print(table(result))
    path = options.results / "ablation.json"
    write_result(path, result, "training.experiments.ablation.table")
    return 0


if __name__ == "__main__":
    sys.exit(main())
