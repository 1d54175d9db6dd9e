"""What the commands that make and compare models do."""

import json
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
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(
            'kpextract export needs onnx. Run: pip install "kpextract[cpu,export]".'
        ) from error
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
