"""What ONNX Runtime's waiting threads are worth at a camera's rate, and what they cost.

    python -m benchmarks.duty --rate 10 --out benchmarks/results/duty.json

Between frames its threads spin for a while before they sleep: the next frame finds them
awake, and programs beside it find the cores busy. The bundled network runs on frames at
a fixed rate, and back to back (rate 0), with spinning and without, in turns:
milliseconds of a call, and of processor time a frame, waiting included.
"""

import argparse
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

SIZE = (640, 480)
WARM_UP = 10  # frames
SPINNING = {"spinning": "1", "sleeping": "0"}  # ONNX Runtime's allow_spinning


def open_session(content: bytes, spinning: str) -> Any:
    """The model on the CPU, with its threads' way of waiting."""
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
    """Calls at `rate` a second, or back to back at 0.

    Returns:
        milliseconds: percentiles of a call.
        processor_milliseconds: of all threads, a frame.
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
    """Both ways of waiting at each rate, in turns."""
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
        "models": {f"kpextract {model} {found.sidecar['version']}": found.sha256},
        "size": list(SIZE),
        "rounds": rounds,
        "rows": [
            {"rate": rate, "threads": way} | summarize(of)
            for (rate, way), of in turns.items()
        ],
    }


def table(result: dict[str, Any]) -> str:
    """Markdown, a row for each rate and way of waiting."""
    head = ["frames a second", "threads wait", "p50", "p90", "p99", "processor ms"]
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


def main(arguments: list[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.duty",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", default="small", help="bundled name or path of an .onnx file")
    add("--rate", type=float, nargs="+", default=[0.0, 10.0], help="frames a second")
    add("--frames", type=int, default=100)
    add("--rounds", type=int, default=3)
    add("--out", type=Path, help="JSON file")
    options = parser.parse_args(arguments)
    result = measure(options.model, options.rate, options.frames, options.rounds)
    print(table(result))
    if options.out:
        write_result(options.out, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
