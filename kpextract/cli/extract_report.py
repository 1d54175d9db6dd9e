"""Say how far a run of `kpextract extract` is, and what it did."""

import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from kpextract.bulk.inputs import Input, Photo
from kpextract.bulk.run import Summary
from kpextract.cli.outputs import plural
from kpextract.extractor import Extractor
from kpextract.formats.store import Written
from kpextract.printable import printable


class Progress:
    """Show how far a run is, and each failure on a line of its own."""

    def __init__(self, inputs: list[Input], *, quiet: bool):
        """Begin before the first image.

        Args:
            quiet: no bar; failures are shown all the same.
        """
        from tqdm import tqdm

        photos = all(isinstance(each, Photo) for each in inputs)
        total = len(inputs) if photos else None  # who knows the frames of a video
        self._bar = tqdm(total=total, unit="image", disable=True if quiet else None)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, one: Written, summary: Summary) -> None:
        """Show an entry that was written."""
        if one.error is not None:
            text = printable(f"kpextract: failed: {one.name}: {one.error}")
            self._bar.write(text, file=sys.stderr)
        done = summary.images + len(summary.skipped) + len(summary.failed)
        self._bar.update(done - self._bar.n)


def report_of(
    summary: Summary, failed_before: list[str], extractor: Extractor
) -> dict[str, Any]:
    """Return what a run did, for --json."""
    return {
        "extractor": asdict(extractor.info),
        "min_distance": extractor.pipeline.min_distance,
        "images": summary.images,
        "keypoints": summary.keypoints,
        "skipped": len(summary.skipped),
        "failed_before": failed_before,
        "failed": [{"name": name, "error": why} for name, why in summary.failed],
        "seconds": round(summary.seconds, 3),
        "images_per_second": round(summary.images_per_second, 2),
        "interrupted": summary.interrupted,
    }


def warn_of(failed_before: Mapping[str, str]) -> None:
    """Print a line per image that failed in an earlier run.

    Args:
        failed_before: errors by name.
    """
    for error in failed_before.values():
        print(printable(f"kpextract: failed before: {error}"), file=sys.stderr)


def sentence_of(summary: Summary, failed_before: int, extractor: Extractor) -> str:
    """Return what a run did in one line.

    Args:
        failed_before: images that were skipped because they failed in an earlier run.
    """
    info, apart = extractor.info, extractor.pipeline.min_distance
    distance = f" at least {apart:g} px apart before refinement" if apart else ""
    earlier = f" (of which {failed_before} failed)" if failed_before else ""
    begin = "interrupted: " if summary.interrupted else ""
    return (
        f"{begin}{plural(summary.images, 'image')}: "
        f"{plural(summary.keypoints, 'keypoint')}{distance}, "
        f"{len(summary.skipped)} skipped as done{earlier}, {len(summary.failed)} "
        f"failed, {summary.images_per_second:.1f} images per second, "
        f"{info.model} {info.version} on {info.backend}"
    )
