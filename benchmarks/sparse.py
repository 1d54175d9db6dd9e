"""Measure what decoding inside the graph costs on a CPU.

    python -m benchmarks.sparse --calibrate photos/ --out benchmarks/results/sparse.json

Sparse variants and the dense graph of the same precision run in turns in one process,
each in a session of its own, on one 640x480 photo. The figure is the median over rounds
of a variant's time over that of the dense graph in the same round, in the processor
time of the calling thread with --threads 1, which other load hardly changes, and else
in elapsed time. Prints the table.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks import markdown
from benchmarks.machine import write_result
from benchmarks.variants import FIXED, MODEL_HELP, PHOTO, kpextract
from kpextract.backends.onnxrt import import_onnxruntime
from kpextract.photos import read_photo
from training import script

PRECISIONS = {"float32": "", "int8": "--int8 onnxruntime"}
VARIANTS = {  # the first is the reference
    "dense": f"{FIXED} --kind dense",
    "sparse": FIXED,
    "sparse, any size and batch": "",
    "sparse, 3 px apart": f"{FIXED} --min-distance 3",
    "sparse, mask": f"{FIXED} --mask",
}
WARM_UPS = 5


def export(model: str, words: str, calibrate: Path, out: Path) -> Path:
    """Export a variant; return its path.

    Raises:
        FailedError: it cannot be exported.
    """
    given = words.split()
    if "--int8" in given:
        given += ["--calibrate", str(calibrate)]
    kpextract("export", "--model", model, "-o", out, *given)
    return out


def milliseconds(paths: list[Path], rounds: int, threads: int) -> np.ndarray:
    """Return (rounds, models) milliseconds of one call each, in turns."""
    image = read_photo(PHOTO)[None]
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # The waiting threads of one session would disturb the next one.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    sessions = [
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        for path in paths
    ]
    given = {"image": image, "mask": np.ones(image.shape[:3], np.uint8)}
    feeds = [
        {value.name: given[value.name] for value in session.get_inputs()}
        for session in sessions
    ]
    clock = time.thread_time if threads == 1 else time.perf_counter
    spent = np.zeros((WARM_UPS + rounds, len(sessions)))
    for turn in tqdm(spent, unit="round"):
        for number, (session, feed) in enumerate(zip(sessions, feeds, strict=True)):
            started = clock()
            session.run(None, feed)
            turn[number] = clock() - started
    return 1e3 * spent[WARM_UPS:]


def table(result: dict[str, Any]) -> str:
    """Return Markdown with one row per variant."""
    lines = [
        [f"{name}, {precision}", f"{row['ms']:.2f}", f"{row['over dense']:.3f}"]
        for precision, rows in result["rows"].items()
        for name, row in rows.items()
    ]
    return markdown.table(["variant", "ms", "over dense"], lines)


@script.command
def main(arguments: list[str] | None = None) -> None:
    """Run the command line; see the module's docstring."""
    parser = script.parser("benchmarks.sparse", __doc__)
    add = parser.add_argument
    add("--model", default="small", help=MODEL_HELP)
    add(
        "--calibrate",
        type=Path,
        required=True,
        help="folder of int8 calibration photos",
    )
    add("--threads", type=int, default=1, help="threads of a session (default: 1)")
    add("--rounds", type=int, default=60, help="rounds (default: 60)")
    add("--out", type=Path, required=True, help="JSON file for the result")
    options = parser.parse_args(arguments)
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for precision, words in PRECISIONS.items():
            paths = [
                export(
                    options.model,
                    f"{given} {words}",
                    options.calibrate,
                    Path(folder) / f"{precision}-{number}.onnx",
                )
                for number, given in enumerate(VARIANTS.values())
            ]
            spent = milliseconds(paths, options.rounds, options.threads)
            ratios = np.median(spent / spent[:, :1], axis=0)
            rows[precision] = {
                name: {"ms": round(float(ms), 3), "over dense": round(float(ratio), 3)}
                for name, ms, ratio in zip(
                    VARIANTS, np.median(spent, axis=0), ratios, strict=True
                )
            }
    result = {
        "model": options.model,
        "threads": options.threads,
        "rounds": options.rounds,
        "rows": rows,
    }
    print(table(result))
    write_result(options.out, result, "benchmarks.sparse.table")


if __name__ == "__main__":
    sys.exit(main())
