"""Describe the images of a store and their matches, for a report."""

import heapq
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from kpextract.bulk.pairs import Pair
from kpextract.features import Features
from kpextract.formats.store import StoreReader

GRID = 16  # coverage is counted in cells of 1/16 of the longer side


@dataclass(frozen=True)
class ImageFacts:
    """Describe one image.

    Attributes:
        name: of the image in the store.
        keypoints: their number.
        score: median of their scores; 0 without keypoints.
        coverage: share of cells of a grid, `GRID` along the longer side, that have a
            keypoint.
        matches: with all other images; None if no matches were given.
        error: why the image has no features; None if it has.
    """

    name: str
    keypoints: int
    score: float
    coverage: float
    matches: int | None
    error: str | None

    @property
    def quality(self) -> tuple[float, ...]:
        """Return what images are ordered by, the worst first.

        Unreadable images come first, then those with the fewest matches if there are
        matches, the lowest coverage, the fewest keypoints and the lowest scores.
        """
        return (
            self.error is None,
            self.matches or 0,
            self.coverage,
            self.keypoints,
            self.score,
        )


@dataclass(frozen=True)
class MatchGraph:
    """Describe which images of a store match.

    Attributes:
        pairs: that were matched.
        connected: pairs with at least one match.
        components: images of each connected part, the largest first; an image without
            matches is a part of its own.
        weights: (B, B) matches between images, as a share of the largest number; image
            i of N is in row and column i * B // N.
    """

    pairs: int
    connected: int
    components: list[int]
    weights: np.ndarray


@dataclass(frozen=True)
class StoreFacts:
    """Describe a store: every image, in order, and their matches."""

    images: list[ImageFacts]
    graph: MatchGraph | None

    def worst(self, count: int) -> list[ImageFacts]:
        """Return the `count` worst images, the worst first."""
        return heapq.nsmallest(count, self.images, key=lambda image: image.quality)


def collect(
    reader: StoreReader, matches: Iterable[tuple[Pair, int]] | None = None
) -> StoreFacts:
    """Read every entry of a store, one at a time.

    Args:
        matches: pairs of names and their numbers of matches; pairs of names that the
            store does not have are left out.
    """
    counted = None if matches is None else list(matches)
    totals: Counter[str] = Counter()
    for pair, count in counted or ():
        for name in pair:
            totals[name] += count
    images = [
        _describe(
            entry.name,
            entry.features,
            None if counted is None else totals[entry.name],
            entry.error,
        )
        for entry in reader.entries()
    ]
    names = [image.name for image in images]
    return StoreFacts(images, None if counted is None else match_graph(names, counted))


def coverage(features: Features) -> float:
    """Return the share of grid cells that have a keypoint.

    Keypoints outside the image, which a file may hold, do not count.
    """
    width, height = features.image_size
    side = max(width, height) / GRID
    columns, rows = (max(1, round(length / side)) for length in (width, height))
    cells = (features.keypoints + 0.5) * (columns / width, rows / height)
    inside = ((cells >= 0) & (cells < (columns, rows))).all(axis=1)
    return len(np.unique(cells[inside].astype(int), axis=0)) / (columns * rows)


def match_graph(
    names: Sequence[str], matches: Sequence[tuple[Pair, int]], bins: int = 400
) -> MatchGraph:
    """Return the match graph of images in the order of their names.

    Args:
        bins: maximum side of the matrix of weights.
    """
    number = {name: position for position, name in enumerate(names)}
    known = [
        (number[a], number[b], count)
        for (a, b), count in matches
        if a in number and b in number
    ]
    side = min(bins, len(names))
    weights = np.zeros((side, side))
    parents = list(range(len(names)))
    for first, second, count in known:
        if count:
            parents[_root(parents, first)] = _root(parents, second)
        for i, j in ((first, second), (second, first)):
            weights[i * side // len(names), j * side // len(names)] += count
    sizes = Counter(_root(parents, position) for position in range(len(names)))
    return MatchGraph(
        pairs=len(known),
        connected=sum(count > 0 for _, _, count in known),
        components=sorted(sizes.values(), reverse=True),
        weights=weights / max(1.0, weights.max(initial=0)),
    )


def _root(parents: list[int], position: int) -> int:
    """Return the representative of a part, and shorten the way to it."""
    while parents[position] != position:
        parents[position] = parents[parents[position]]
        position = parents[position]
    return position


def _describe(
    name: str, features: Features | None, matches: int | None, error: str | None
) -> ImageFacts:
    if features is None:
        return ImageFacts(name, 0, 0.0, 0.0, matches, error or "no features")
    score = float(np.median(features.scores)) if len(features) else 0.0
    return ImageFacts(name, len(features), score, coverage(features), matches, None)
