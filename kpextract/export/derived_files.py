"""Write and verify all files of one dense model that a robot may need.

The steps are those of `kpextract export`, `kpextract build` and `kpextract verify`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kpextract import BackendUnavailableError, Extractor
from kpextract.backends.trt_package import import_tensorrt
from kpextract.export.artifact import refuse_existing
from kpextract.export.engine.build import build
from kpextract.export.engine.profiles import Sizes
from kpextract.export.variant import Variant, export_variant
from kpextract.export.verify import Gate, compare
from kpextract.modelfile import ENGINE, sidecar_path
from kpextract.photos import read_photo

SIZE = (640, 480)  # of the engine's images, pixels
MIB = 1 << 20

Images = list[tuple[str, np.ndarray]]  # name and pixels


@dataclass(frozen=True)
class Step:
    """A file that was written, and its comparison with the dense model.

    Attributes:
        verdict: figures, or why there are none.
        missed: whether the figures miss the gate.
    """

    path: Path
    what: str
    verdict: str
    missed: bool


def targets(dense: Path) -> tuple[Path, Path, Path]:
    """Return the paths of sparse graph, sparse float16 graph and engine."""
    stem = dense.stem
    return (
        dense.with_name(f"{stem}-sparse.onnx"),
        dense.with_name(f"{stem}-fp16.onnx"),
        dense.with_name(f"{stem}-fp16{ENGINE}"),
    )


def make_all(dense: Path, photos: list[Path], force: bool) -> list[Step]:
    """Write sparse graph, float16 graph and engine beside a dense model.

    Args:
        photos: to compare each with the dense model on.

    Raises:
        ExportError: a step failed.
        MissingPackageError: no TensorRT to build with.
        FileExistsError: a file exists and `force` is not given.
    """
    images = [(path.name, read_photo(path)) for path in photos]
    sparse, half, engine = files = targets(dense)
    refuse_existing([*files, *map(sidecar_path, files)], force)
    import_tensorrt()  # fails before the work if it is missing
    steps = []
    for path, variant in ((sparse, Variant()), (half, Variant(fp16=True))):
        export_variant(dense, path, variant, force=force)
        what = f"sparse, {variant.precision}, any size"
        steps.append(Step(path, what, *verify(dense, path, images)))
    card = build(half, engine, sizes=Sizes(SIZE), force=force)
    built = "{package} {version}".format(**card.tensorrt)
    what = f"engine of the one above, {SIZE[0]}x{SIZE[1]}, {built}"
    fitting = [(name, image) for name, image in images if image.shape[1::-1] == SIZE]
    return [*steps, Step(engine, what, *verify(dense, engine, fitting))]


def verify(dense: Path, other: Path, images: Images) -> tuple[str, bool]:
    """Return a verdict on `other`, and whether it misses the gate."""
    if not images:
        return "not verified: none of the photos has its size", False
    try:
        reference, opened = (Extractor(path, min_score=0) for path in (dense, other))
    except BackendUnavailableError as error:
        return f"not verified: {error}", False
    figures = compare(reference, opened, images).pooled
    missed = Gate().missed(figures)
    if missed:
        return f"missed: {'; '.join(missed)}", True
    verdict = (
        f"passed: {figures.changed:.2%} changed, drift p99 {figures.drift['p99']:.4f} "
        f"px, median cosine {figures.cosine['p50']:.5f}"
    )
    return verdict, False


def summary(steps: list[Step]) -> str:
    """Return one line per file."""
    rows = [
        (step.path.name, f"{step.path.stat().st_size / MIB:.2f} MiB", step.what)
        for step in steps
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(map(str.ljust, row, widths)) + f"  {step.verdict}"
        for row, step in zip(rows, steps, strict=True)
    )
