"""Measure the size, accuracy and time of each variant of a model, and build engines.

    python -m benchmarks.variants --images frames/ --calibrate photos/ \\
        --out benchmarks/results/variants.json

Each variant is exported from the dense float32 model and built into an engine for
640x480 by TensorRT-RTX, which needs no GPU to build, or TensorRT. On 640x480 photos, it
is compared with its source model and timed, both with ONNX Runtime on the CPU. For the
comparison, float16 rounds each layer's result and int8 for TensorRT sums without
overflow, as on a GPU. Engines are not run. Prints the table; the JSON file holds the
rest.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from tqdm import tqdm

from benchmarks import markdown, process
from benchmarks.machine import write_result
from benchmarks.rounding import rounded, unsaturated
from benchmarks.turns import alone
from kpextract import Extractor
from kpextract.errors import UsageError
from kpextract.export.graph.metadata import load_graph
from kpextract.export.verify import Gate, compare
from kpextract.photos import expand, read_photo
from training import script

PHOTO = Path("examples/street-left.jpg")  # for timing
SIZE = (640, 480)  # (width, height) in pixels
MAX_KEYPOINTS = 1024  # budget of variants that fix none
FIXED = "--size 640x480 --batch 1"
VARIANTS = {  # options of `kpextract export`
    "dense": "--kind dense",
    "dense float16": "--kind dense --fp16",
    "dense int8, for ONNX Runtime": "--kind dense --int8 onnxruntime",
    "dense int8, for TensorRT": "--kind dense --int8 tensorrt",
    "sparse": FIXED,
    "sparse, any size and batch": "",
    "sparse, mask": f"{FIXED} --mask",
    "sparse, 4500 keypoints": f"{FIXED} --max-keypoints 4500",
    "sparse float16": f"{FIXED} --fp16",
    "sparse, float16 descriptors": f"{FIXED} --descriptors float16",
    "sparse int8, for ONNX Runtime": f"{FIXED} --int8 onnxruntime",
    "sparse int8, for TensorRT": f"{FIXED} --int8 tensorrt",
}
MODEL_HELP = "bundled name or path of a dense .onnx file (default: small)"
Row = dict[str, Any]


def kpextract(*words: str | Path) -> dict[str, Any]:
    """Run a kpextract command and return its JSON.

    Raises:
        FailedError: the command failed.
    """
    return json.loads(process.output("kpextract", *words, "--json"))


def read_frames(paths: list[Path]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name and pixels of each photo.

    Raises:
        UsageError: a photo is not 640x480, the fixed size of some variants.
    """
    for path in paths:
        image = read_photo(path)
        if image.shape[1::-1] != SIZE:
            raise UsageError(f"{path} is not {SIZE[0]}x{SIZE[1]} pixels. Resize it.")
        yield path.name, image


def examine(
    model: str, options: str, photos: list[Path], calibrate: Path, folder: Path
) -> Row:
    """Export, build, compare and time one variant.

    Raises:
        FailedError: the variant cannot be exported or timed. That it cannot be built is
            part of the result.
        KpextractError: the variant cannot be compared.
    """
    words = options.split()
    if "--int8" in words:
        words += ["--calibrate", str(calibrate)]
    out = folder / "variant.onnx"
    facts = kpextract("export", "--model", model, "-o", out, "--force", *words)
    max_keypoints = facts.get("max_keypoints") or MAX_KEYPOINTS
    compared = out
    for option, as_on_a_gpu in (("--fp16", rounded), ("tensorrt", unsaturated)):
        if option in words:
            compared = folder / "compared.onnx"
            onnx.save(as_on_a_gpu(load_graph(out)), compared)
    extractors = [
        Extractor(path, backend="onnx-cpu", max_keypoints=max_keypoints, min_score=0)
        for path in (model, compared)
    ]
    figures = compare(*extractors, read_frames(photos)).pooled
    return {
        "options": options,
        "bytes": out.stat().st_size,
        "max_keypoints": max_keypoints,
        "engine": _build(out),
        "figures": asdict(figures),
        "missed": Gate().missed(figures),
        "milliseconds": alone(
            PHOTO, "--extractor", out, "--max-keypoints", max_keypoints
        )["milliseconds"],
    }


def _build(model: Path) -> dict[str, Any]:
    """Build an engine; return its builder and size, or the error."""
    out = model.with_suffix(".engine")
    size = "{}x{}".format(*SIZE)
    try:
        facts = kpextract("build", model, "-o", out, "--size", size, "--force")
    except process.FailedError as error:
        return {"error": str(error)}
    return facts["tensorrt"] | {"bytes": out.stat().st_size}


def table(result: dict[str, Any]) -> str:
    """Return Markdown with one row per variant."""
    head = ["variant", "`kpextract export`", "MB", "engine", "changed"]
    head += ["drift p99 (px)", "cosine p50", "gate", "CPU (ms)"]
    lines = []
    for name, row in result["rows"].items():
        figures = row["figures"]
        lines.append(
            [
                name,
                f"`{row['options']}`" if row["options"] else "",
                f"{row['bytes'] / 1e6:.2f}",
                _engine(row["engine"]),
                f"{figures['changed']:.2%}",
                f"{figures['drift']['p99']:.4f}",
                f"{figures['cosine']['p50']:.5f}",
                "missed" if row["missed"] else "passed",
                f"{row['milliseconds']['p50']:.1f}",
            ]
        )
    return markdown.table(head, lines)


def _engine(engine: dict[str, Any]) -> str:
    if "error" in engine:
        return "refused"  # the result file says by what and why
    return f"{engine['bytes'] / 1e6:.2f} MB"


@script.command
def main(arguments: list[str] | None = None) -> None:
    """Run the command line; see the module's docstring."""
    parser = script.parser("benchmarks.variants", __doc__)
    add = parser.add_argument
    add("--model", default="small", help=MODEL_HELP)
    add("--images", required=True, help="folder of 640x480 photos for the comparison")
    add(
        "--calibrate",
        type=Path,
        required=True,
        help="folder of int8 calibration photos",
    )
    add("--out", type=Path, required=True, help="JSON file for the result")
    options = parser.parse_args(arguments)
    photos = expand([options.images])
    info = Extractor(options.model, backend="onnx-cpu").info
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, words in tqdm(VARIANTS.items(), unit="variant"):
            rows[name] = examine(
                options.model, words, photos, options.calibrate, Path(folder)
            )
    result = {
        "models": {f"kpextract {info.model} {info.version}": info.sha256},
        "photos": len(photos),
        "rows": rows,
    }
    print(table(result))
    write_result(options.out, result, "benchmarks.variants.table")


if __name__ == "__main__":
    sys.exit(main())
