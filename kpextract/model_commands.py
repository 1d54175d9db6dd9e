"""What the commands that make models do; each is a step of `kpextract.export`."""

import json
import time
from pathlib import Path
from typing import Any

from kpextract.errors import MissingPackageError


def export(
    model: str,
    out: Path,
    calibrate: str | None,
    force: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """A variant of a dense model: decoding in the graph, fixed sizes, float16, int8."""
    _need_onnx("kpextract export")
    from kpextract.export.variant import Variant, export_variant

    variant = Variant(**options)
    sidecar, agreement = export_variant(
        model, out, variant, photos=calibrate, force=force
    )
    if as_json:
        print(json.dumps({"path": str(out), "agreement": vars(agreement)} | sidecar))
        return 0
    size = "any size" if variant.size is None else "{}x{}".format(*variant.size)
    batch = "any batch" if variant.batch is None else f"batch {variant.batch}"
    rows = f", {variant.rows} keypoints" if variant.kind == "sparse" else ""
    print(
        f"wrote {out}: {variant.kind}, {variant.precision}, {size}, {batch}{rows}; "
        f"on noise within {agreement.position_error:.1g} px of {model}, descriptor "
        f"cosine at least {agreement.cosine:.5f}"
    )
    return 0


def build(
    model: str,
    out: Path,
    package: str,
    force: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """TensorRT engine of a model, and its sidecar."""
    _need_onnx("kpextract build")
    from kpextract.export.build import build as build_engine
    from kpextract.export.plan import BuildOptions
    from kpextract.export.shapes import Sizes

    names = ("size", "min_size", "max_size", "batch")
    sizes = Sizes(**{name: options.pop(name) for name in names})
    started = time.perf_counter()
    sidecar = build_engine(
        model,
        out,
        package=package,
        sizes=sizes,
        options=BuildOptions(**options),
        force=force,
    )
    if as_json:
        print(json.dumps({"engine": str(out)} | sidecar, indent=2))
        return 0
    seconds = time.perf_counter() - started
    shapes = sidecar["inputs"]["image"]
    ranges = " to ".join(
        "x".join(map(str, shape)) for shape in (shapes["min"], shapes["max"])
    )
    builder = "{package} {version}".format(**sidecar["tensorrt"])
    print(
        f"wrote {out}: {sidecar['name']} {sidecar['version']}, {sidecar['kind']}, "
        f"{sidecar['precision']}, images {ranges}, {out.stat().st_size / 1e6:.1f} MB, "
        f"{builder}, {seconds:.1f} s"
    )
    return 0


def _need_onnx(command: str) -> None:
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(
            f"{command} needs onnx, which is not installed. "
            'Run: pip install "kpextract[export]" (or pip install onnx).'
        ) from error
