"""What the commands that make models do; each is a step of `kpextract.export`."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kpextract.errors import MissingPackageError
from kpextract.extractor import Extractor
from kpextract.photos import expand, read_photo

GATE_MISSED = 1


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


def verify(
    reference: str,
    other: str,
    images: list[str],
    backend_ref: str,
    backend_other: str,
    max_keypoints: int,
    as_json: bool,
    **bounds: float,
) -> int:
    """Does a model or engine find what its reference finds? Exit code 1 if not."""
    from tqdm import tqdm

    from kpextract.export.report import report
    from kpextract.export.verify import Gate, compare

    gate = Gate(**bounds)
    paths = expand(images)
    first, second = (
        Extractor(model, backend=backend, max_keypoints=max_keypoints)
        for model, backend in ((reference, backend_ref), (other, backend_other))
    )
    bar = tqdm(paths, unit="photo", disable=len(paths) == 1)
    photos = ((str(path), read_photo(path)) for path in bar)
    comparison = compare(first, second, photos)
    missed = gate.missed(comparison.pooled)
    if as_json:
        facts = {"max_keypoints": max_keypoints, "gate": asdict(gate), "missed": missed}
        print(json.dumps(facts | asdict(comparison), indent=2))
    else:
        print(report(comparison))
        print("\n".join(f"missed: {fault}" for fault in missed) or "passed")
    return GATE_MISSED if missed else 0


def _need_onnx(command: str) -> None:
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(
            f"{command} needs onnx, which is not installed. "
            'Run: pip install "kpextract[export]" (or pip install onnx).'
        ) from error
