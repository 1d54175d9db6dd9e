"""Compare another form of a model with its reference, on real photos.

The two are compared by their `Features`, so that any two models and backends can be:
an ONNX graph, its sparse or float16 form, an engine.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from kpextract import Extractor, ExtractorInfo, Features
from kpextract.errors import InvalidImageError, ModelError

COMMON = 1.0  # pixels; a keypoint that moved further counts as a different one
THRESHOLDS = (0.05, 0.1, 0.5, COMMON)  # pixels of drift


@dataclass(frozen=True)
class Figures:
    """Differences between a model and its reference.

    A keypoint of one is paired with at most one of the other, the nearest pairs first,
    up to 1 px apart; pairs are the common points. Cells are not compared: a network
    may place a point outside of its cell, and features do not say which cell was meant.

    Attributes:
        keypoints: number that the reference and the other found.
        common: number of pairs.
        changed: share of the keypoints, of whichever model found more, without a
            partner; 0 where neither found any.
        within: share of the common points that moved at most so many pixels.
        drift: pixels that common points moved: "p50", "p99", "max".
        cosine: between descriptors of common points: "p1", "p50".
        score: absolute difference between scores of common points: "p50", "p99", "max".
        non_finite: number of NaN and infinite values that the reference and the other
            gave; a keypoint with one has no partner.

    `within`, `drift`, `cosine` and `score` are empty without a common point.
    """

    keypoints: tuple[int, int]
    common: int
    changed: float
    within: dict[str, float]
    drift: dict[str, float]
    cosine: dict[str, float]
    score: dict[str, float]
    non_finite: tuple[int, int]


@dataclass(frozen=True)
class Gate:
    """Bounds on the figures of all images together.

    Attributes:
        max_changed: share of keypoints without a partner.
        max_drift: pixels that 99 % of the common points may move.
        min_cosine: median between descriptors of common points.
    """

    max_changed: float = 0.01
    max_drift: float = 0.05
    min_cosine: float = 0.9995

    def missed(self, figures: Figures) -> list[str]:
        """Return one sentence per missed bound; an empty list if the gate is passed.

        NaN, infinite values and the lack of any common point miss every gate.
        """
        faults = [
            f"the {name} gave {count} NaN or infinite values"
            for name, count in zip(
                ("reference", "other"), figures.non_finite, strict=True
            )
            if count
        ]
        if figures.changed > self.max_changed:
            faults.append(
                f"{figures.changed:.2%} of the keypoints changed, "
                f"{self.max_changed:.2%} allowed"
            )
        if not figures.common:
            return [*faults, "the two have no keypoint in common"]
        if figures.drift["p99"] > self.max_drift:
            faults.append(
                f"99 % of the common points moved up to {figures.drift['p99']:.3g} px, "
                f"{self.max_drift:g} px allowed"
            )
        if figures.cosine["p50"] < self.min_cosine:
            faults.append(
                f"the median cosine of descriptors is {figures.cosine['p50']:.5f}, "
                f"{self.min_cosine:g} required"
            )
        return faults


@dataclass(frozen=True)
class Comparison:
    """Two models on the same images.

    Attributes:
        reference, other: what really ran.
        images: figures of each image, by its name.
        pooled: figures of all images' keypoints together.
    """

    reference: ExtractorInfo
    other: ExtractorInfo
    images: dict[str, Figures]
    pooled: Figures


def compare(
    reference: Extractor, other: Extractor, images: Iterable[tuple[str, np.ndarray]]
) -> Comparison:
    """Compare `other` with `reference`; open both with the same budget.

    Args:
        images: name and pixels of each, as for `Extractor.detect`; at least one.

    Raises:
        InvalidImageError: no image, or one that an extractor does not take.
        ModelError: descriptors of the two have different lengths.
    """
    with np.errstate(invalid="ignore"):  # NaN is counted, not warned of
        pairings = {
            name: pair(_detect(reference, image), _detect(other, image))
            for name, image in images
        }
    if not pairings:
        raise InvalidImageError("comparing models needs at least one image, got none.")
    return Comparison(
        reference.info,
        other.info,
        {name: summarize([pairing]) for name, pairing in pairings.items()},
        summarize(list(pairings.values())),
    )


@dataclass(frozen=True, eq=False)
class Pairing:
    """The common points of one image, M of them.

    Attributes:
        keypoints, non_finite: as in `Figures`.
        drift: (M,) pixels.
        cosine: (M,) between descriptors.
        score: (M,) absolute differences.
    """

    keypoints: tuple[int, int]
    non_finite: tuple[int, int]
    drift: np.ndarray
    cosine: np.ndarray
    score: np.ndarray


def pair(reference: Features, other: Features) -> Pairing:
    """Pair the keypoints of two models on one image; see `Figures` for the rule."""
    dimensions = reference.descriptors.shape[1], other.descriptors.shape[1]
    if dimensions[0] != dimensions[1]:
        raise ModelError(
            f"descriptors have {dimensions[0]} and {dimensions[1]} numbers: these are "
            "different networks. Compare two forms of one."
        )
    rows, columns, drift = _partners(reference, other)
    first, second = (
        features.descriptors[index].astype(np.float64)
        for features, index in ((reference, rows), (other, columns))
    )
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    tiny = np.finfo(np.float64).tiny  # a descriptor of zeros has the cosine 0
    return Pairing(
        keypoints=(len(reference), len(other)),
        non_finite=(_count_non_finite(reference), _count_non_finite(other)),
        drift=drift,
        cosine=(first * second).sum(axis=1) / np.maximum(norms, tiny),
        score=np.abs(reference.scores[rows] - other.scores[columns]),
    )


def _partners(
    reference: Features, other: Features
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (M,) indices into each and (M,) distances, nearest pairs first.

    Where several keypoints share one place, those with the nearest scores are paired.
    """
    candidates = []
    known = np.flatnonzero(_finite_rows(other))
    positions = other.keypoints[known].astype(np.float64)
    for row in np.flatnonzero(_finite_rows(reference)).tolist():
        distances = np.hypot(*(positions - reference.keypoints[row]).T)
        for near in np.flatnonzero(distances <= COMMON):
            column = int(known[near])
            gap = abs(float(reference.scores[row]) - float(other.scores[column]))
            candidates.append((float(distances[near]), gap, row, column))
    rows: dict[int, float] = {}
    columns: dict[int, float] = {}
    for distance, _, row, column in sorted(candidates):
        if row not in rows and column not in columns:
            rows[row] = columns[column] = distance
    return (
        np.array(list(rows), dtype=np.intp),
        np.array(list(columns), dtype=np.intp),
        np.array(list(rows.values())),
    )


def _arrays(features: Features) -> np.ndarray:
    """Return all numbers of each keypoint, (N, 3 + D)."""
    return np.column_stack([features.keypoints, features.scores, features.descriptors])


def _detect(extractor: Extractor, image: np.ndarray) -> Features:
    """Return what `Extractor.detect` does, NaN and infinite values included."""
    prepared = extractor.pipeline.prepare(image)
    (outputs,) = extractor.pipeline.infer([prepared])
    return extractor.pipeline.decode_unchecked(outputs, prepared)


def _finite_rows(features: Features) -> np.ndarray:
    """Return which keypoints are without NaN and infinity, (N,) bool."""
    return np.isfinite(_arrays(features)).all(axis=1)


def _count_non_finite(features: Features) -> int:
    return int((~np.isfinite(_arrays(features))).sum())


def summarize(pairings: list[Pairing]) -> Figures:
    """Return the figures of the keypoints of one or more images."""
    drift = np.concatenate([pairing.drift for pairing in pairings])
    cosine = np.concatenate([pairing.cosine for pairing in pairings])
    score = np.concatenate([pairing.score for pairing in pairings])
    counts = np.array([pairing.keypoints for pairing in pairings])
    faults = np.sum([pairing.non_finite for pairing in pairings], axis=0)
    most = int(counts.max(axis=1).sum())
    return Figures(
        keypoints=(int(counts[:, 0].sum()), int(counts[:, 1].sum())),
        common=len(drift),
        changed=(most - len(drift)) / most if most else 0.0,
        within={f"{limit:g}": float((drift <= limit).mean()) for limit in THRESHOLDS}
        if len(drift)
        else {},
        drift=_spread(drift),
        cosine=_ranks(cosine, 1, 50),
        score=_spread(score),
        non_finite=(int(faults[0]), int(faults[1])),
    )


def _spread(values: np.ndarray) -> dict[str, float]:
    largest = {"max": float(values.max())} if len(values) else {}
    return _ranks(values, 50, 99) | largest


def _ranks(values: np.ndarray, *percents: int) -> dict[str, float]:
    """Return percentiles by name ("p50"): the min value that so many do not exceed.

    A percentile is one of the values, so that a bound on it bounds that share of the
    points. Empty without values.
    """
    if not len(values):
        return {}
    ranks = np.percentile(values, percents, method="inverted_cdf")
    return {f"p{p}": float(rank) for p, rank in zip(percents, ranks, strict=True)}
