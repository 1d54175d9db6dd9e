"""Decoding of the network's dense maps into keypoints.

Christiansen et al. 2019 (arXiv:1907.04011): all cells are sorted by score and the best
are kept; descriptors are interpolated at the regressed positions. A cell has one point,
so points are suppressed only if a minimum distance is requested.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from kpextract.features import Features
from kpextract.image import Frame, clip
from kpextract.refinement import Refinement
from kpextract.sampling import sample_descriptors
from kpextract.selection import apart, evenly_spread, strongest

# Cells ranked beyond the budget, in place of those whose points are not allowed.
SPARE = 32


class DenseMaps(NamedTuple):
    """Output of one engine call, float32, B images of H x W padded pixels.

    score_logits: (B, 1, H/8, W/8).
    positions: (B, 2, H/8, W/8), x then y, pixels of the engine's input.
    descriptor_map: (B, D, H/s, W/s), not normalized.
    """

    score_logits: np.ndarray
    positions: np.ndarray
    descriptor_map: np.ndarray

    def image(self, index: int) -> "DenseMaps":
        """Return the maps of one image of the batch, without the leading B."""
        return DenseMaps(*(array[index] for array in self))


class SparseRows(NamedTuple):
    """Output of one call of a sparse graph, which decodes: B images, K rows each.

    keypoints: (B, K, 2) float32, x and y in pixels of the engine's input.
    scores: (B, K) float32, best first.
    descriptors: (B, K, D) float32 or float16 unit rows.
    count: (B,) int32; rows from it on are padding.
    """

    keypoints: np.ndarray
    scores: np.ndarray
    descriptors: np.ndarray
    count: np.ndarray  # type: ignore[assignment]  # hides tuple.count

    def image(self, index: int) -> "SparseRows":
        """Return the rows of one image of the batch, without the leading B."""
        return SparseRows(*(array[index] for array in self))


# Output type of each kind of model, by `kpextract.kind` in its metadata.
OUTPUTS: dict[str, type[DenseMaps] | type[SparseRows]] = {
    "dense": DenseMaps,
    "sparse": SparseRows,
}
# ONNX's names of the element types, and rank, of the inputs and outputs of graphs.
TENSORS = {
    "image": (("uint8",), 4),
    "mask": (("uint8",), 3),
    "score_logits": (("float",), 4),
    "positions": (("float",), 4),
    "descriptor_map": (("float",), 4),
    "keypoints": (("float",), 3),
    "scores": (("float",), 2),
    "descriptors": (("float", "float16"), 3),
    "count": (("int32",), 1),
}


def take(
    rows: SparseRows,
    frame: Frame,
    *,
    max_keypoints: int | None = None,
    min_score: float = 0.0,
) -> Features:
    """Return the features of one image that a sparse graph has decoded.

    Args:
        rows: one image's rows (`SparseRows.image`).
        frame: the image's sizes.
        max_keypoints: the budget; None keeps all rows of the graph.
        min_score: minimum score, in [0, 1].
    """
    scores = _never_rising(rows.scores[: int(rows.count)][:max_keypoints])
    points = rows.keypoints[: len(scores)]
    # The graph does not know where the padding begins; it takes part in the budget.
    outside = (points >= np.array(frame.input_size) - 0.5).any(axis=1)
    kept = np.flatnonzero((scores >= min_score) & ~outside)
    return Features(
        keypoints=frame.to_caller(clip(points[kept], frame.input_size)),
        scores=scores[kept],
        descriptors=rows.descriptors[kept].astype(np.float32),
        image_size=frame.image_size,
    )


def decode(
    maps: DenseMaps,
    frame: Frame,
    *,
    max_keypoints: int | None = None,
    min_score: float = 0.0,
    mask: np.ndarray | None = None,
    selection: str = "strongest",
    min_distance: float = 0.0,
    refinement: Refinement | None = None,
    pixels: np.ndarray | None = None,
) -> Features:
    """Decode one image's maps into features, best first.

    Cells are ranked by logit, since scores saturate: from a logit of 17 on, the sigmoid
    is exactly 1 in float32. Ties keep the order of the grid, row by row.

    Args:
        maps: one image's maps (`DenseMaps.image`).
        frame: the image's sizes.
        max_keypoints: the budget; None keeps every cell whose point is in the image.
        min_score: minimum score, in [0, 1].
        mask: (H, W) bool of the caller's image; applied before the budget is spent, at
            the pixel on which a keypoint falls.
        selection: which cells get the budget, one of `SELECTIONS`.
        min_distance: minimum distance of keypoints in pixels of the engine's input
            (`kpextract.selection.apart`); applied before the budget is spent, to what
            `mask` and `min_score` leave, and before refinement.
        refinement: moves the kept points by what `pixels` show; a point that it would
            move off the mask stays where it was.
        pixels: (H, W, 3) uint8, the engine's input; needed for a refinement.
    """
    return decode_octaves(
        [Octave(maps, frame, pixels)],
        max_keypoints=max_keypoints,
        min_score=min_score,
        mask=mask,
        selection=selection,
        min_distance=min_distance,
        refinement=refinement,
    )


class Octave(NamedTuple):
    """Output of the network for one size of an image.

    maps: maps of the image at this size.
    frame: sizes of the image; all octaves share the caller's image.
    pixels: (H, W, 3) uint8, the engine's input; needed for a refinement.
    """

    maps: DenseMaps
    frame: Frame
    pixels: np.ndarray | None = None


def decode_octaves(
    octaves: Sequence[Octave],
    *,
    max_keypoints: int | None,
    min_score: float,
    mask: np.ndarray | None,
    selection: str,
    min_distance: float,
    refinement: Refinement | None,
) -> Features:
    """Decode one image that the network saw at several sizes, best keypoint first.

    The cells of all sizes are ranked together and share one budget; of equal scores,
    the earlier size comes first.

    Args:
        octaves: the largest first.
        max_keypoints, min_score, mask, selection, min_distance, refinement: as for
            `decode`; distances are in pixels of the first input.
    """
    frame, cells = octaves[0].frame, _Cells(octaves)

    def allowed(numbers: np.ndarray) -> np.ndarray:
        """Return (N,) bool, whether each cell may have a keypoint."""
        passes = cells.inside(numbers)
        if mask is not None:
            passes &= _allowed(mask, frame.to_caller(cells.points(numbers)))
        if min_score > 0:
            passes &= sigmoid(cells.logits[numbers]) >= min_score
        return passes

    if selection == "grid" and max_keypoints is not None:
        candidates = _apart(cells, allowed, min_distance)
        points, logits = cells.points(candidates), cells.logits[candidates]
        order = evenly_spread(logits, points, frame.input_size, max_keypoints)
        kept = candidates[order]
    elif min_distance > 0:
        candidates = _apart(cells, allowed, min_distance)
        kept = candidates[strongest(cells.logits[candidates], max_keypoints)]
    else:
        kept = _first(cells.logits, allowed, max_keypoints)
    points, sigma = cells.points(kept), None
    if refinement is not None:
        refined, sigma = cells.refined(kept, refinement)
        if mask is not None:
            free = _allowed(mask, frame.to_caller(refined))[:, None]
            refined = np.where(free, refined, points)
        points, sigma = refined, frame.lengths_to_caller(sigma)
    return Features(
        keypoints=frame.to_caller(points),
        scores=_never_rising(sigmoid(cells.logits[kept])),
        descriptors=cells.descriptors(kept),
        image_size=frame.image_size,
        sigma=sigma,
    )


Allowed = Callable[[np.ndarray], np.ndarray]  # numbers of cells to bool


def _first(logits: np.ndarray, allowed: Allowed, limit: int | None) -> np.ndarray:
    """Return the numbers of the `limit` best of the allowed cells, best first.

    Only as many cells are looked at as it takes: mostly the budget and `SPARE` more.
    """
    if limit is not None and limit + SPARE < len(logits):
        ranked = strongest(logits, limit + SPARE)
        kept = ranked[allowed(ranked)]
        if len(kept) >= limit:
            return kept[:limit]
    ranked = strongest(logits, None)
    return ranked[allowed(ranked)][:limit]


def _apart(cells: "_Cells", allowed: Allowed, min_distance: float) -> np.ndarray:
    """Return the numbers of allowed cells that suppression keeps, ascending."""
    candidates = np.arange(len(cells.logits))
    candidates = candidates[allowed(candidates)]
    if min_distance > 0:
        points = cells.points(candidates)
        candidates = candidates[apart(cells.logits[candidates], points, min_distance)]
    return candidates


class _Cells:
    """The cells of all octaves, numbered consecutively."""

    def __init__(self, octaves: Sequence[Octave]):
        self._octaves = octaves
        # From each octave to the first input; the first frame leads on to the caller.
        first = octaves[0].frame.input_size
        self._frames = [Frame(first, octave.frame.input_size) for octave in octaves]
        parts = [octave.maps.score_logits.reshape(-1) for octave in octaves]
        self._starts = [0, *accumulate(map(len, parts[:-1]))]
        self.logits = parts[0] if len(parts) == 1 else np.concatenate(parts)

    def inside(self, cells: np.ndarray) -> np.ndarray:
        """Return (N,) bool, whether the point of each cell lies inside the image.

        A point may cross the border of its cell, or lie in the padding; one that is
        NaN counts as inside.
        """

        def inside(octave: int, own: np.ndarray) -> np.ndarray:
            x, y = self._positions(octave, own)
            width, height = self._frames[octave].input_size
            outside = (x < -0.5) | (x >= width - 0.5) | (y < -0.5) | (y >= height - 0.5)
            return ~outside

        return self._each(cells, inside)

    def points(self, cells: np.ndarray) -> np.ndarray:
        """Return (N, 2) x and y in pixels of the first input, inside the image."""

        def points(octave: int, own: np.ndarray) -> np.ndarray:
            return self._frames[octave].to_caller(self._own_points(octave, own))

        return self._each(cells, points)

    def refined(
        self, cells: np.ndarray, refinement: Refinement
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return (N, 2) refined points and (N,) sigma, in pixels of the first input."""

        def refine(octave: int, own: np.ndarray) -> np.ndarray:
            pixels, frame = self._octaves[octave].pixels, self._frames[octave]
            assert pixels is not None  # as `decode` asks for
            points, sigma = refinement(pixels, self._own_points(octave, own))
            points = frame.to_caller(clip(points, frame.input_size))
            return np.column_stack([points, frame.lengths_to_caller(sigma)])

        rows = self._each(cells, refine)
        return rows[:, :2], rows[:, 2]

    def descriptors(self, cells: np.ndarray) -> np.ndarray:
        """Return (N, D) unit rows, each from the map of its own octave."""

        def sample(octave: int, own: np.ndarray) -> np.ndarray:
            maps = self._octaves[octave].maps
            points = self._own_points(octave, own)
            return sample_descriptors(
                maps.descriptor_map, points, maps.score_logits.shape[1]
            )

        return self._each(cells, sample)

    def _own_points(self, octave: int, own: np.ndarray) -> np.ndarray:
        """Return (N, 2) x and y in pixels of the octave's own input."""
        points = self._positions(octave, own).T
        return clip(points, self._frames[octave].input_size)

    def _positions(self, octave: int, own: np.ndarray) -> np.ndarray:
        """Return (2, N) x and y in pixels of the octave's own input, wherever."""
        positions = self._octaves[octave].maps.positions
        return positions.reshape(2, -1)[:, own]

    def _each(
        self, cells: np.ndarray, rows: Callable[[int, np.ndarray], np.ndarray]
    ) -> np.ndarray:
        """Apply `rows` to the cells of each octave and restore the cells' order.

        Args:
            rows: maps the number of an octave and (M,) numbers of its cells to
                (M, ...).
        """
        if len(self._octaves) == 1:
            return rows(0, cells)
        octaves = np.searchsorted(self._starts, cells, side="right") - 1
        parts = [
            rows(octave, cells[octaves == octave] - start)
            for octave, start in enumerate(self._starts)
        ]
        places = np.argsort(octaves, kind="stable")  # of the parts' rows
        return np.concatenate(parts)[np.argsort(places)]


def _allowed(mask: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return (N,) bool, whether the pixel under each point is allowed."""
    columns, rows = np.rint(points).astype(np.intp).T
    return mask[rows, columns]


def _never_rising(scores: np.ndarray) -> np.ndarray:
    """Return scores in the order of their logits without a rise by rounding.

    The sigmoid in float32 is not monotone: a lower logit may give a higher last bit.
    """
    return np.minimum.accumulate(scores)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Compute 1 / (1 + exp(-z)) without overflow, in the dtype of `logits`."""
    return np.exp(-np.logaddexp(0, -logits))
