"""Measure the time of a model's layers in ONNX Runtime, by its own profile.

    python -m benchmarks.nodes small small-int8 --out benchmarks/results/nodes.json

Models run in turns on the sample photo (640x480), with one thread, so that layers
compare whatever else runs. Each node counts with the 10th percentile of its calls,
since other work only ever adds time; the nodes of a kind are summed.
"""

import json
import re
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx

from benchmarks import markdown, process
from benchmarks.machine import write_result
from kpextract.backends.onnxrt import CPU, import_onnxruntime
from kpextract.decode import DenseMaps
from kpextract.export.graph.low_precision import low_precision_nodes
from kpextract.export.graph.metadata import parse_graph, read_metadata
from kpextract.modelfile import find_model
from training import script

PHOTO = process.ROOT / "examples" / "street-left.jpg"
CALLS = 100
PERCENTILE = 10
FIRST, LAST, REST = "first layer", "last layers of the heads", "types, layouts, rest"
KINDS = (FIRST, "3x3", "3x3 per channel", "1x1", LAST, REST)
ADDED = re.compile(r"(_nchwc|_token_\d+)+$")  # what fusing appends to a name
EVENT = "_kernel_time"  # suffix of what the profile calls the run of a node


def kinds_of(graph: onnx.GraphProto) -> dict[str, str]:
    """Return one of `KINDS` by each name that a convolution may have in a profile.

    Fusing names it after itself, its result, or the result of its activation.
    """
    writers = {name: node for node in graph.node for name in node.output}
    shapes = {c.name: tuple(c.dims) for c in graph.initializer}
    before_last = {n.name for n in low_precision_nodes(graph, DenseMaps._fields)}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    found = {}
    for node in convolutions:
        weight = node.input[1]  # in int8 the result of DequantizeLinear
        shape = shapes.get(weight) or shapes[writers[weight].input[0]]
        kind = "1x1" if shape[2:] == (1, 1) else "3x3"
        if shape[1] == 1:
            kind = "3x3 per channel"
        if node is convolutions[0]:
            kind = FIRST
        elif node.name not in before_last:
            kind = LAST
        after = [n for n in graph.node if node.output[0] in n.input]
        names = [node.name, node.output[0], *(n.output[0] for n in after)]
        found |= dict.fromkeys(names, kind)
    return found


def milliseconds(
    events: list[dict[str, Any]], kinds: dict[str, str]
) -> dict[str, float]:
    """Return the milliseconds of each of `KINDS` in a profile.

    Args:
        events: of ONNX Runtime's profile; durations are in microseconds.
        kinds: as `kinds_of` returns it.
    """
    times: dict[str, list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(EVENT):
            times[event["name"].removesuffix(EVENT)].append(event["dur"])
    total = dict.fromkeys(KINDS, 0.0)
    for name, durations in times.items():
        kind = kinds.get(ADDED.sub("", name), REST)
        total[kind] += float(np.percentile(durations, PERCENTILE)) / 1000
    return {kind: round(value, 3) for kind, value in total.items()}


def measure(models: list[str], calls: int) -> dict[str, Any]:
    """Profile dense models in turns, in this process.

    Raises:
        KpextractError: there is no such model.
    """
    onnxruntime = import_onnxruntime()
    image = cv2.imread(str(PHOTO))[None]
    rows: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        opened = []
        for index, model in enumerate(map(find_model, models)):
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / f"{index}")
            session = onnxruntime.InferenceSession(
                model.content, options, providers=[CPU]
            )
            opened.append((model, session))
        for _ in range(calls):
            for _, session in opened:
                session.run(None, {"image": image})
        for model, session in opened:
            graph = parse_graph(model.content, model.path)
            events = json.loads(Path(session.end_profiling()).read_text())
            entries = read_metadata(graph)
            label = f"kpextract {model.name} {entries['version']}"
            rows[label] = milliseconds(events, kinds_of(graph.graph))
    hashes = [model.sha256 for model, _ in opened]
    return {"models": dict(zip(rows, hashes, strict=True)), "rows": rows}


def table(result: dict[str, Any]) -> str:
    """Return Markdown: milliseconds by kind and model, and ratios to the first."""
    rows = {
        name: row | {"sum": sum(row.values())} for name, row in result["rows"].items()
    }
    first, *others = rows
    lines = [
        [
            kind,
            *(f"{row[kind]:.2f}" for row in rows.values()),
            *(f"{rows[name][kind] / rows[first][kind]:.2f}" for name in others),
        ]
        for kind in (*KINDS, "sum")
    ]
    ratios = [f"{name} / {first}" for name in others]
    return markdown.table(["ms, one thread", *rows, *ratios], lines)


@script.command
def main(arguments: list[str] | None = None) -> None:
    """Run the command line; see the module's docstring."""
    parser = script.parser("benchmarks.nodes", __doc__)
    add = parser.add_argument
    add("models", nargs="+", help="dense models; others are compared with the first")
    add("--calls", type=int, default=CALLS, help="calls each (default: %(default)s)")
    add("--out", type=Path, help="JSON file for the result (default: none)")
    options = parser.parse_args(arguments)
    result = measure(options.models, options.calls)
    print(table(result))
    if options.out:
        write_result(options.out, result, "benchmarks.nodes.table")


if __name__ == "__main__":
    sys.exit(main())
