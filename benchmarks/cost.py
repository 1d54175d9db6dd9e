"""Model what many images cost, from the figures that benchmarks.extraction measured.

    python -m benchmarks.cost benchmarks/results/extraction.json --input-bytes 30000 \\
        --out benchmarks/results/cost.json

Nothing is measured here: CPU time and bytes per image are those of the given result,
which also names the machine; prices and the link are assumptions, to be replaced by
your own. Features are counted as Parquet.
"""

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks import markdown
from benchmarks.machine import write_result
from kpextract.errors import UsageError
from training import script

MS_PER_HOUR = 3.6e6


def model(rows: list[dict[str, Any]], assumed: dict[str, float]) -> dict[str, Any]:
    """Return the cost of `assumed["images"]` images.

    Args:
        rows: of benchmarks.extraction.
        assumed: images, input_bytes (per image), core_hour_usd, gb_month_usd, gbit (per
            second of the link).

    Raises:
        UsageError: the result has no row of Parquet with float32.
    """
    images = assumed["images"]
    parquet = [row for row in rows if row["format"] == "parquet"]
    parquet.sort(key=lambda row: row["workers"])  # that with the most workers counts
    kinds = {row["descriptors"]: row for row in parquet}
    if "float32" not in kinds:
        raise UsageError("the result has no row of parquet with float32 descriptors.")
    core_hours = {
        kind: images * row["cpu_ms"] / MS_PER_HOUR for kind, row in kinds.items()
    }
    output = {kind: images * row["bytes"] / 1e9 for kind, row in kinds.items()}
    seconds = images * assumed["input_bytes"] * 8 / (assumed["gbit"] * 1e9)
    return {
        "cpu_ms": {kind: row["cpu_ms"] for kind, row in kinds.items()},
        "bytes": {kind: row["bytes"] for kind, row in kinds.items()},
        "core_hours": core_hours,
        "core_usd": {k: v * assumed["core_hour_usd"] for k, v in core_hours.items()},
        "output_gb": output,
        "month_usd": {k: v * assumed["gb_month_usd"] for k, v in output.items()},
        "input_gb": images * assumed["input_bytes"] / 1e9,
        "input_hours": seconds / 3600,
        # Cores that the link brings photos for, and seconds that their features take.
        "link_cores": core_hours["float32"] * 3600 / seconds,
        "output_hours": {
            kind: gb * 8 / assumed["gbit"] / 3600 for kind, gb in output.items()
        },
    }


def table(result: dict[str, Any]) -> str:
    """Return a Markdown table with a row per resource."""
    assumed, cost = result["assumed"], result["cost"]
    images, gbit = f"{assumed['images'] / 1e6:g} M", f"{assumed['gbit']:g} Gbit/s"
    rows = []
    for kind, hours in cost["core_hours"].items():
        price = f"{assumed['core_hour_usd']:g} USD per core-hour"
        rows.append(
            [
                f"compute, {kind}",
                f"{images} x {cost['cpu_ms'][kind]:.1f} ms",
                f"{hours:.0f} core-hours",
                f"{cost['core_usd'][kind]:.0f} USD at {price}",
            ]
        )
    for kind, gigabytes in cost["output_gb"].items():
        price = f"{assumed['gb_month_usd']:g} USD per GB"
        rows.append(
            [
                f"output, {kind}",
                f"{images} x {cost['bytes'][kind] / 1000:.0f} kB",
                f"{gigabytes / 1000:.1f} TB, {cost['output_hours'][kind]:.1f} h at "
                f"{gbit}",
                f"{cost['month_usd'][kind]:.0f} USD per month at {price}",
            ]
        )
    rows.append(
        [
            "input",
            f"{images} x {assumed['input_bytes'] / 1000:.0f} kB",
            f"{cost['input_gb'] / 1000:.1f} TB, {cost['input_hours']:.1f} h at {gbit}",
            f"enough for {cost['link_cores']:.0f} cores",
        ]
    )
    return markdown.table(["", "per image", "in all", ""], rows)


@script.command
def main(arguments: list[str] | None = None) -> None:
    """Run the command line; see the module's docstring."""
    parser = script.parser("benchmarks.cost", __doc__)
    add = parser.add_argument
    add("result", type=Path, help="result of benchmarks.extraction, .json")
    add("--images", type=float, default=1e8, help="images (default: %(default)g)")
    add("--input-bytes", type=float, required=True, help="mean size of a photo's file")
    help_text = "price of a core-hour, USD (default: %(default)s)"
    add("--core-hour-usd", type=float, default=0.04, help=help_text)
    help_text = "price of a GB for a month, USD (default: %(default)s)"
    add("--gb-month-usd", type=float, default=0.023, help=help_text)
    help_text = "bandwidth to the photos, Gbit/s (default: %(default)s)"
    add("--gbit", type=float, default=1.0, help=help_text)
    add("--out", type=Path, required=True, help="result, .json")
    options = vars(parser.parse_args(arguments))
    measured = json.loads(options.pop("result").read_text())
    out = options.pop("out")
    result = {
        "machine": measured["machine"],  # that of the figures
        "models": measured["models"],
        "assumed": options,
        "cost": model(measured["rows"], options),
    }
    write_result(out, result, "benchmarks.cost.table")
    print(table(result))


if __name__ == "__main__":
    sys.exit(main())
