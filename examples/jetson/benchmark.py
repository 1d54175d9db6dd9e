"""Benchmark a Jetson: build engines, measure latency and power, write a table row.

    python examples/jetson/benchmark.py

docs/jetson.md says what to install and how to set the clocks. Not yet run on a Jetson.
"""

import argparse
import datetime
import sys
import time
from collections.abc import Callable
from pathlib import Path

import board
import engines
import rows
from power import NoPowerError, Power, tegrastats

from kpextract import KpextractError, __version__
from kpextract.system import gpu
from kpextract.system.programs import NoAnswerError, output

STOPPED, NO_JETSON, INTERRUPTED = 1, 2, 130  # exit codes
SETTLE = (
    1.0  # seconds until clocks and sensors follow the load; power counts after that
)
ROWS = "jetson-rows.md"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        default=Path("jetson-engines"),
        help="folder for engines and rows (default: %(default)s)",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=10.0,
        help="seconds of power samples, idle and per engine (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    if not gpu.is_jetson():
        print(
            "This is not a Jetson: neither /etc/nv_tegra_release nor the device tree "
            "says so. `kpextract bench` measures any machine.",
            file=sys.stderr,
        )
        return NO_JETSON
    try:
        run(options.out.resolve(), options.seconds)
    except (KpextractError, OSError) as error:
        print(f"Stopped: {error}", file=sys.stderr)
        return STOPPED
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def run(folder: Path, seconds: float) -> None:
    """Measure, print, and append the row to the file in the folder.

    Raises:
        StoppedError: an engine cannot be built or run.
    """
    cells = describe_board()
    print(f"sampling the power while idle, {seconds:g} s")
    idle = power_while(lambda: rest(SETTLE + seconds))
    built = {name: engines.provide(folder, name) for name in engines.PRECISIONS}
    latencies, powers = {}, {}
    for name, engine in built.items():
        print(f"measuring {engine.name}")
        latencies[name] = engines.bench(engine, name)
        # After the latency, so that tegrastats does not slow it down.
        powers[name] = idle and power_while(
            lambda engine=engine: engines.keep_busy(engine, SETTLE + seconds)
        )
    print(rows.report(latencies, idle, powers))
    cells |= rows.measured(latencies, idle, powers) | provenance(*built.values())
    text = rows.row(cells)
    rows.append(folder / ROWS, text)
    print(f"\n{text}\n")
    print(
        f"added to {folder / ROWS}; benchmarks/results/jetson.md says how to send it in"
    )


def describe_board() -> dict[str, str]:
    """Print the board and its settings, and return their cells of the row."""
    facts, reasons = board.facts()
    for name, value in facts.items():
        print(f"{name.replace('_', ' ')}: {value}")
    clocks = board.clocks()
    for name, clock in clocks.items():
        state = "locked" if clock.locked else f"now {clock.now}"
        print(f"{name} clock: {clock} MHz, {state}")
    if not clocks:
        reasons.append("clocks are unknown: /sys shows none")
    if any(not clock.locked for clock in clocks.values()):
        reasons.append("clocks move with the load: run sudo jetson_clocks first")
    for reason in reasons:
        print(f"note: {reason}")
    return {
        "board": facts["board"],
        "JetPack": facts["jetpack"],
        "L4T": facts["l4t"],
        "power mode": facts["power_mode"],
        "GPU (MHz)": str(clocks.get("GPU", board.UNKNOWN)),
        "CPU (MHz)": str(clocks.get("CPU", board.UNKNOWN)),
    }


def rest(seconds: float) -> float:
    """Sleep, and return when that began."""
    began = time.monotonic()
    time.sleep(seconds)
    return began


def power_while(work: Callable[[], float]) -> Power | None:
    """Measure the power during a call; if that fails, print why and return None.

    Args:
        work: returns its start by `time.monotonic`; power counts from `SETTLE` on.
    """
    try:
        with tegrastats() as recording:
            return recording.power(work() + SETTLE)
    except NoPowerError as error:
        print(f"note: the power is unknown: {error}")
        return None


def provenance(engine: Path, *_: Path) -> dict[str, str]:
    """Return the cells of the measured software, from the sidecar of the engine."""
    sidecar = engines.built_with(engine)
    return {
        "TensorRT": sidecar["tensorrt"]["version"],
        "model": f"{sidecar['name']} {sidecar['version']}",
        "kpextract": version(),
        "date": datetime.date.today().isoformat(),
    }


def version() -> str:
    """Return the version of kpextract, with the commit of a git checkout."""
    git = ["git", "describe", "--always", "--dirty"]
    try:
        commit = output(git, seconds=10, cwd=Path(__file__).parent).strip()
    except NoAnswerError:
        return __version__
    return f"{__version__} ({commit})"


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # in order with the output of kpextract
    sys.exit(main())
