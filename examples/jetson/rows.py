"""Write the row of a board for the community's table, and the report for the screen."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from engines import PRECISIONS, Latency
from power import Power

# benchmarks/results/jetson.md explains them.
COLUMNS = (
    "board",
    "JetPack",
    "L4T",
    "TensorRT",
    "power mode",
    "GPU (MHz)",
    "CPU (MHz)",
    "model",
    *(f"{name} p50 / p90 / p99 (ms)" for name in PRECISIONS),
    "idle (mW)",
    *(f"{name} (mW)" for name in PRECISIONS),
    "rails",
    "hottest (C)",
    "kpextract",
    "date",
)
UNKNOWN = "-"


def measured(
    latencies: Mapping[str, Latency],
    idle: Power | None,
    powers: Mapping[str, Power | None],
) -> dict[str, str]:
    """Return the measured cells; `UNKNOWN` for power that is unknown."""
    known = [power for power in (idle, *powers.values()) if power]
    hottest = [power.hottest for power in known if power.hottest is not None]
    cells = {
        f"{name} p50 / p90 / p99 (ms)": " / ".join(f"{value:.2f}" for value in latency)
        for name, latency in latencies.items()
    }
    cells |= {f"{name} (mW)": milliwatts(power) for name, power in powers.items()}
    return cells | {
        "idle (mW)": milliwatts(idle),
        "rails": known[0].name if known else UNKNOWN,
        "hottest (C)": f"{max(hottest):.0f}" if hottest else UNKNOWN,
    }


def milliwatts(power: Power | None) -> str:
    return f"{power.total:.0f}" if power else UNKNOWN


def row(cells: Mapping[str, str]) -> str:
    """Return a line of the table, with one cell per column of `COLUMNS`."""
    return line([cells[name].replace("|", "/") for name in COLUMNS])


def line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def append(path: Path, text: str) -> None:
    """Append a row to a file, which begins with the header of the table."""
    head = "" if path.exists() else f"{line(COLUMNS)}\n{line(['---'] * len(COLUMNS))}\n"
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{head}{text}\n")


def report(
    latencies: Mapping[str, Latency],
    idle: Power | None,
    powers: Mapping[str, Power | None],
) -> str:
    """Return latency, power, rails and temperature of each engine as text."""
    head = ("engine", "p50 ms", "p90 ms", "p99 ms", "running mW", "idle mW", "more mW")
    lines = [head]
    for name, latency in latencies.items():
        power = powers[name]
        more = f"{power.total - idle.total:.0f}" if power and idle else UNKNOWN
        times = [f"{value:.2f}" for value in latency]
        lines.append((name, *times, milliwatts(power), milliwatts(idle), more))
    table = ["".join(f"{cell:>12}" for cell in cells) for cells in lines]
    for name, power in {"idle": idle, **powers}.items():
        if power:
            rails = ", ".join(f"{rail} {mw:.0f}" for rail, mw in power.rails.items())
            heat = "" if power.hottest is None else f", at most {power.hottest:.0f} C"
            table.append(f"{name}: {rails} mW ({power.samples} samples{heat})")
    return "\n".join(table)
