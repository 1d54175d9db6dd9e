"""What each variant of a model costs in size, accuracy and time, and who builds it.

    python -m benchmarks.variants --images frames/ --calibrate photos/ \\
        --out benchmarks/results/variants.json

Each variant is exported from the dense float32 model and then built into an engine for
640x480 by TensorRT-RTX, which needs no GPU for that, or TensorRT. It is compared with
the model it comes from on photos of 640x480 and timed, both with ONNX Runtime on the
CPU; compared are float16 with each layer's result rounded, and int8 for TensorRT with
sums that cannot overflow, as on a GPU. Engines have not been run. Prints the table; the
JSON file holds the rest.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from tqdm import tqdm

from benchmarks import markdown
from benchmarks.machine import write_result
from benchmarks.rounding import rounded, unsaturated
from benchmarks.turns import alone
from kpextract import Extractor, KpextractError
from kpextract.errors import UsageError
from kpextract.export.graph.metadata import load_graph
from kpextract.export.verify import Gate, compare
from kpextract.photos import expand, read_photo

PHOTO = Path("examples/street-left.jpg")  # to measure time on
SIZE = (640, 480)  # (width, height) in pixels
MAX_KEYPOINTS = 1024  # budget where a variant has none of its own
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
Row = dict[str, Any]


class CommandError(KpextractError):
    """A command that failed; the message is its own."""


def kpextract(*words: str | Path) -> dict[str, Any]:
    """What a command of kpextract says in JSON.

    Raises:
        CommandError: it failed.
    """
    command = [sys.executable, "-m", "kpextract", *map(str, words), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"{words[0]} ended without a word"]
        raise CommandError(said[-1].removeprefix("kpextract: "))
    return json.loads(done.stdout)


def read_frames(paths: list[Path]) -> Iterator[tuple[str, np.ndarray]]:
    """Name and pixels of each photo.

    Raises:
        UsageError: one is not of 640x480, which some variants are fixed to.
    """
    for path in paths:
        image = read_photo(path)
        if image.shape[1::-1] != SIZE:
            raise UsageError(f"{path} is not of {SIZE[0]}x{SIZE[1]} pixels. Resize it.")
        yield path.name, image


def examine(
    model: str, options: str, photos: list[Path], calibrate: Path, folder: Path
) -> Row:
    """Export, build, compare and time one variant.

    Raises:
        CommandError: it cannot be exported. That it cannot be built is part of the
            result.
        FailedError: it cannot be timed.
        KpextractError: it cannot be compared.
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
        Extractor(path, backend="onnx-cpu", max_keypoints=max_keypoints)
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
    """Who built the engine and its size; or why there is none."""
    out = model.with_suffix(".engine")
    size = "{}x{}".format(*SIZE)
    try:
        facts = kpextract("build", model, "-o", out, "--size", size, "--force")
    except CommandError as error:
        return {"error": str(error)}
    return facts["tensorrt"] | {"bytes": out.stat().st_size}


def table(rows: dict[str, Row]) -> str:
    """Markdown, a variant a row."""
    head = ["variant", "`kpextract export`", "MB", "engine", "changed"]
    head += ["drift p99 (px)", "cosine p50", "gate", "CPU (ms)"]
    lines = []
    for name, row in rows.items():
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
        return "refused"  # by whom and why is in the file
    return f"{engine['bytes'] / 1e6:.2f} MB"


def main(arguments: list[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.variants",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", default="small", help="bundled name or path of a dense .onnx file")
    add("--images", required=True, help="folder of photos of 640x480, to compare on")
    add("--calibrate", type=Path, required=True, help="folder of photos, for int8")
    add("--out", type=Path, required=True, help="JSON file")
    options = parser.parse_args(arguments)
    try:
        photos = expand([options.images])
        info = Extractor(options.model, backend="onnx-cpu").info
        rows = {}
        with tempfile.TemporaryDirectory() as folder:
            for name, words in tqdm(VARIANTS.items(), unit="variant"):
                rows[name] = examine(
                    options.model, words, photos, options.calibrate, Path(folder)
                )
    except (KpextractError, OSError) as error:
        print(f"variants: {error}", file=sys.stderr)
        return 1
    print(table(rows))
    result = {
        "models": {f"kpextract {info.model} {info.version}": info.sha256},
        "photos": len(photos),
        "rows": rows,
    }
    write_result(options.out, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
