"""Benchmark a Raspberry Pi: measure the bundled models and write a table row.

    python examples/jetson/raspberry_pi.py

docs/jetson.md says what to install. Any other board or PC gets a row too, of its CPU.
Not yet run on a Raspberry Pi.
"""

import datetime
import sys
import tempfile
from pathlib import Path

import board
import engines
import rows

from kpextract import KpextractError, __version__
from kpextract.system.hardware import describe

STOPPED = 1  # exit code
BACKEND = "onnx-cpu"
MODELS = {"small": "float32", "small-int8": "int8"}  # names and precisions
# benchmarks/results/jetson.md explains them.
COLUMNS = (
    "board",
    "CPU (MHz)",
    "cores",
    "ONNX Runtime",
    *(f"{name} p50 / p90 / p99 (ms)" for name in MODELS),
    "kpextract",
    "date",
)


def main() -> int:
    """Print the table with the row of this board, and return the exit code."""
    try:
        cells = describe_board() | latencies()
    except (KpextractError, OSError) as error:
        print(f"Stopped: {error}", file=sys.stderr)
        return STOPPED
    print(rows.line(COLUMNS))
    print(rows.line(["---"] * len(COLUMNS)))
    print(rows.line([cells[name].replace("|", "/") for name in COLUMNS]))
    return 0


def describe_board() -> dict[str, str]:
    """Return the cells that name hardware and software."""
    machine = describe(("onnxruntime",))
    clock = board.clocks().get("CPU", board.UNKNOWN)
    return {
        "board": machine["cpu"],
        "CPU (MHz)": str(clock),
        "cores": str(machine["cores"]),
        "ONNX Runtime": machine["packages"].get("onnxruntime", board.UNKNOWN),
        "kpextract": __version__,
        "date": datetime.date.today().isoformat(),
    }


def latencies() -> dict[str, str]:
    """Measure each model by `kpextract bench` and return its cell.

    Raises:
        StoppedError: bench failed, or ran something else.
    """
    cells = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, precision in MODELS.items():
            print(f"measuring {name}", file=sys.stderr)
            text = engines.run(engines.bench_command(name, BACKEND), Path(folder))
            latency = engines.read_bench(text, precision, BACKEND)
            cell = " / ".join(f"{value:.2f}" for value in latency)
            cells[f"{name} p50 / p90 / p99 (ms)"] = cell
    return cells


if __name__ == "__main__":
    sys.exit(main())
