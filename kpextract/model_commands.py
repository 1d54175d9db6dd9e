"""What the commands that make models do; each is a step of `kpextract.export`."""

import json
from dataclasses import asdict

from kpextract.extractor import Extractor
from kpextract.photos import expand, read_photo

GATE_MISSED = 1


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
    extractors = [
        Extractor(model, backend=backend, max_keypoints=max_keypoints)
        for model, backend in ((reference, backend_ref), (other, backend_other))
    ]
    bar = tqdm(paths, unit="photo", disable=len(paths) == 1)
    photos = ((str(path), read_photo(path)) for path in bar)
    comparison = compare(*extractors, photos)
    missed = gate.missed(comparison.pooled)
    if as_json:
        facts = {"max_keypoints": max_keypoints, "gate": asdict(gate), "missed": missed}
        print(json.dumps(facts | asdict(comparison), indent=2))
    else:
        print(report(comparison))
        print("\n".join(f"missed: {fault}" for fault in missed) or "passed")
    return GATE_MISSED if missed else 0
