"""Compare keypoints of other runtimes with those of ONNX Runtime.

    python -m benchmarks.runtimes --images examples/street-left.jpg \\
        --out benchmarks/results/runtimes.json

Each runtime that is installed converts the float32 NCHW graph that `kpextract export`
writes for 640x480, and its maps are decoded as ours are. pnnx and ncnn may be in
another environment's path; TensorFlow cannot, so --tflite takes the file that onnx2tf
wrote. `small-int8` is compared with itself in ONNX Runtime. Prints the table; the JSON
file holds the rest.
"""

import importlib.metadata
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import markdown
from benchmarks.machine import write_result
from benchmarks.variants import read_frames
from kpextract import BackendUnavailableError, Extractor, Features
from kpextract.decode import DenseMaps, decode
from kpextract.errors import UsageError
from kpextract.export.variant import Variant, export_variant
from kpextract.export.verify import Gate, pair, summarize
from kpextract.image import Frame
from kpextract.packages import import_openvino
from kpextract.photos import expand
from training import script

SIZE = (640, 480)  # (width, height) in pixels
MAX_KEYPOINTS = 1024
Images = list[tuple[str, np.ndarray]]  # name and BGR pixels
Maps = Callable[[np.ndarray], DenseMaps]  # of (1, 3, H, W) float32 BGR, 0 to 255


def openvino(model: Path, precision: str | None) -> tuple[str, Maps]:
    """Compile a graph with OpenVINO; return its version and what runs it.

    Args:
        precision: `INFERENCE_PRECISION_HINT`; None for OpenVINO's choice.
    """
    package = import_openvino("benchmarks.runtimes")
    options = {} if precision is None else {"INFERENCE_PRECISION_HINT": precision}
    compiled = package.Core().compile_model(str(model), "CPU", options)

    def run(pixels: np.ndarray) -> DenseMaps:
        results = compiled(pixels)
        return DenseMaps(*(results[name] for name in DenseMaps._fields))

    chosen = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    return f"OpenVINO {package.__version__.split('-')[0]}, runs in {chosen}", run


def ncnn(model: Path, fp16: int) -> tuple[str, Maps]:
    """Convert a graph with pnnx and load it with ncnn.

    Args:
        fp16: pnnx's option, weights in float16; 1 is its default.
    """
    import ncnn as package

    folder = model.with_name(f"ncnn-{fp16}")
    folder.mkdir()
    copy = shutil.copy(model, folder / "model.onnx")  # files are written beside it
    shape = f"inputshape=[1,3,{SIZE[1]},{SIZE[0]}]"
    subprocess.run(
        ["pnnx", copy, shape, f"fp16={fp16}"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    net = package.Net()
    net.load_param(str(folder / "model.ncnn.param"))
    net.load_model(str(folder / "model.ncnn.bin"))

    def run(pixels: np.ndarray) -> DenseMaps:
        extractor = net.create_extractor()
        extractor.input("in0", package.Mat(pixels[0]).clone())
        outputs = (extractor.extract(f"out{i}")[1] for i in range(3))
        return DenseMaps(*(np.array(output)[None] for output in outputs))

    return f"ncnn {package.__version__}", run


def tflite(model: Path) -> tuple[str, Maps]:
    """Load a file of onnx2tf, whose input and outputs are NHWC, with LiteRT."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(model))
    interpreter.allocate_tensors()
    (given,) = interpreter.get_input_details()
    channels = {1: "score_logits", 2: "positions"}
    outputs = {
        channels.get(int(output["shape"][-1]), "descriptor_map"): output["index"]
        for output in interpreter.get_output_details()
    }

    def run(pixels: np.ndarray) -> DenseMaps:
        interpreter.set_tensor(given["index"], pixels.transpose(0, 2, 3, 1))
        interpreter.invoke()
        maps = {n: interpreter.get_tensor(index) for n, index in outputs.items()}
        return DenseMaps(
            **{name: each.transpose(0, 3, 1, 2) for name, each in maps.items()}
        )

    return f"LiteRT {importlib.metadata.version('ai-edge-litert')}", run


def forms(model: Path, converted: Path | None) -> Iterator[tuple[str, str, Maps]]:
    """Yield settings, version and maps of each runtime that is installed."""
    found: dict[str, Callable[[], tuple[str, Maps]]] = {
        "`INFERENCE_PRECISION_HINT=f32`": lambda: openvino(model, "f32"),
        "default": lambda: openvino(model, None),
        "pnnx `fp16=0`": lambda: ncnn(model, 0),
        "pnnx default": lambda: ncnn(model, 1),
    }
    if converted is not None:
        found["onnx2tf, float32"] = lambda: tflite(converted)
    for settings, load in found.items():
        try:
            version, run = load()
        except (ModuleNotFoundError, BackendUnavailableError) as error:
            print(f"{settings}: not measured ({error})", file=sys.stderr)
            continue
        yield settings, version, run


def features(run: Maps, image: np.ndarray) -> Features:
    """Return the features that a runtime's maps of a BGR image decode to."""
    pixels = np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32)
    maps = run(pixels).image(0)
    frame = Frame(SIZE, SIZE)
    return decode(maps, frame, max_keypoints=MAX_KEYPOINTS)


def measure(
    run: Callable[[np.ndarray], Features], reference: Extractor, images: Images
) -> dict[str, Any]:
    """Return the figures of a runtime on images, as `kpextract verify` has them."""
    pairings = [pair(reference.detect(image), run(image)) for _, image in images]
    figures = summarize(pairings)
    return {"figures": asdict(figures), "missed": Gate().missed(figures)}


def integers(images: Images) -> Iterator[dict[str, Any]]:
    """Yield the row of `small-int8` in OpenVINO, compared with ONNX Runtime."""
    reference = Extractor(
        precision="int8", backend="onnx-cpu", max_keypoints=MAX_KEYPOINTS
    )
    try:
        other = Extractor(
            precision="int8", backend="openvino", max_keypoints=MAX_KEYPOINTS
        )
    except BackendUnavailableError as error:
        print(f"small-int8: not measured ({error})", file=sys.stderr)
        return
    row = measure(other.detect, reference, images)
    yield {"runtime": "OpenVINO", "settings": "`small-int8` as it is"} | row


def table(result: dict[str, Any]) -> str:
    """Return Markdown with one row per runtime and setting."""
    head = ["runtime", "settings", "changed", "drift p99 (px)", "drift max (px)"]
    head += ["cosine p1", "gate"]
    lines = []
    for row in result["rows"]:
        figures = row["figures"]
        lines.append(
            [
                row["runtime"],
                row["settings"],
                f"{figures['changed']:.2%}",
                f"{figures['drift']['p99']:.5f}",
                f"{figures['drift']['max']:.5f}",
                f"{figures['cosine']['p1']:.6f}",
                "missed" if row["missed"] else "passed",
            ]
        )
    return markdown.table(head, lines)


@script.command
def main(arguments: list[str] | None = None) -> None:
    """Run the command line; see the module's docstring."""
    parser = script.parser("benchmarks.runtimes", __doc__)
    add = parser.add_argument
    add("--images", nargs="+", required=True, help="640x480 photos")
    add("--tflite", type=Path, help="float32 file that onnx2tf wrote (default: none)")
    add("--out", type=Path, required=True, help="JSON file for the result")
    options = parser.parse_args(arguments)
    if options.tflite and not options.tflite.is_file():
        raise UsageError(f"{options.tflite} is not a file.")
    images = list(read_frames(expand(options.images)))
    # The maps are compared: refinement reads the image and is no part of the graph.
    extractor = Extractor(backend="onnx-cpu", max_keypoints=MAX_KEYPOINTS, refine=False)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.onnx"
        variant = Variant("dense", size=SIZE, batch=1, input="float32", layout="nchw")
        export_variant("small", model, variant)
        for settings, version, run in forms(model, options.tflite):
            row = measure(lambda i, run=run: features(run, i), extractor, images)
            rows.append({"runtime": version, "settings": settings} | row)
    rows += integers(images)
    info = extractor.info
    result = {
        "models": {f"kpextract {info.model} {info.version}": info.sha256},
        "photos": len(images),
        "rows": rows,
    }
    print(table(result))
    write_result(options.out, result, "benchmarks.runtimes.table")


if __name__ == "__main__":
    sys.exit(main())
