"""Measure what ONNX Runtime's spinning threads gain and cost at a camera's rate.

    python -m benchmarks.duty --rate 10 --out benchmarks/results/duty.json

Between frames the threads spin for a while before they sleep: the next frame finds them
awake, but other programs find the cores busy. The bundled network runs at a fixed frame
rate, and back to back (rate 0), alternately with and without spinning. Reported are
milliseconds per call and CPU milliseconds per frame, spinning included.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import markdown
from benchmarks.machine import write_result
from benchmarks.turns import summarize
from kpextract.backends.onnxrt import import_onnxruntime
from kpextract.modelfile import find_model
from kpextract.system.timing import spread, texture
from training import script

SIZE = (640, 480)
WARM_UP = 10  # frames
SPINNING = {"spinning": "1", "sleeping": "0"}  # ONNX Runtime's allow_spinning


def open_session(content: bytes, spinning: str) -> Any:
    """Open the model on the CPU, with spinning "1" or "0"."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", spinning)
    return onnxruntime.InferenceSession(
        content, options, providers=["CPUExecutionProvider"]
    )


def at_rate(
    call: Callable[[], Any],
    rate: float,
    frames: int,
    *,
    clock: Callable[[], float] = time.perf_counter,
    busy: Callable[[], float] = time.process_time,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """Time calls at `rate` per second, or back to back at 0.

    Returns:
        milliseconds: percentiles over calls.
        processor_milliseconds: CPU time of all threads per frame.
    """
    for _ in range(WARM_UP):
        call()
    seconds, started, worked = [], clock(), busy()
    for index in range(frames):
        if rate:
            sleep(max(0.0, started + index / rate - clock()))
        before = clock()
        call()
        seconds.append(clock() - before)
    used = 1000 * (busy() - worked) / frames
    return {"milliseconds": spread(seconds), "processor_milliseconds": round(used, 2)}


def measure(model: str, rates: list[float], frames: int, rounds: int) -> dict[str, Any]:
    """Measure with and without spinning at each rate, in turns."""
    found = find_model(model)
    image = texture(SIZE)[None]
    turns: dict[tuple[float, str], list[dict[str, Any]]] = {}
    for _ in range(rounds):
        for rate in rates:
            for way, spinning in SPINNING.items():
                session = open_session(found.content, spinning)
                figures = at_rate(
                    lambda s=session: s.run(None, {"image": image}), rate, frames
                )
                turns.setdefault((rate, way), []).append(figures)
    return {
        "models": {f"kpextract {model} {found.card.version}": found.sha256},
        "size": list(SIZE),
        "rounds": rounds,
        "rows": [
            {"rate": rate, "threads": way} | summarize(of)
            for (rate, way), of in turns.items()
        ],
    }


def table(result: dict[str, Any]) -> str:
    """Return Markdown with one row per rate and way of waiting."""
    head = [
        "frames per second",
        "idle threads",
        "p50",
        "p90",
        "p99",
        "CPU ms per frame",
    ]
    lines = [
        [
            f"{row['rate']:g}" if row["rate"] else "back to back",
            row["threads"],
            *(f"{row['milliseconds'][p]:.1f}" for p in ("p50", "p90", "p99")),
            f"{row['processor_milliseconds']:.1f}",
        ]
        for row in result["rows"]
    ]
    return markdown.table(head, lines)


@script.command
def main(arguments: list[str] | None = None) -> None:
    """Run the command line; see the module's docstring."""
    parser = script.parser("benchmarks.duty", __doc__)
    add = parser.add_argument
    help_text = "bundled name or path of an .onnx file (default: %(default)s)"
    add("--model", default="small", help=help_text)
    help_text = "frames per second, 0 for back to back (default: 0 10)"
    add("--rate", type=float, nargs="+", default=[0.0, 10.0], help=help_text)
    help_text = "frames per rate and round (default: %(default)s)"
    add("--frames", type=int, default=100, help=help_text)
    help_text = "rounds, of which the median counts (default: %(default)s)"
    add("--rounds", type=int, default=3, help=help_text)
    add("--out", type=Path, help="JSON file for the result (default: none)")
    options = parser.parse_args(arguments)
    result = measure(options.model, options.rate, options.frames, options.rounds)
    print(table(result))
    if options.out:
        write_result(options.out, result, "benchmarks.duty.table")


if __name__ == "__main__":
    sys.exit(main())
