"""Find similar images by a global descriptor made of their local ones.

VLAD (Jegou et al. 2010, "Aggregating local descriptors into a compact image
representation"): descriptors are assigned to the nearest of K centers, which k-means
finds among the store's own descriptors; the differences to each center are summed and
normalized. Nothing is downloaded or trained beforehand.
"""

from collections.abc import Callable

import numpy as np

from kpextract.formats.store import StoreReader

CENTERS = 64
SAMPLE = 200  # descriptors per image that k-means sees, the best ones
MAX_SAMPLES = 100_000  # descriptors that k-means sees
ROUNDS = 25  # of k-means
ROWS = 1024  # of the similarity matrix in memory at once


def most_similar(reader: StoreReader, count: int) -> list[tuple[str, str]]:
    """Return each image of a store with its `count` most similar ones, each pair once.

    A pair is in the order of `reader.names()`, and so are the pairs.
    """
    names = reader.names()
    ranked = neighbors(vlad(reader), count)
    pairs = {
        (min(i, int(j)), max(i, int(j))) for i, row in enumerate(ranked) for j in row
    }
    return [(names[i], names[j]) for i, j in sorted(pairs)]


def vlad(reader: StoreReader, centers: int = CENTERS, seed: int = 0) -> np.ndarray:
    """Return (images, centers * D) float32 unit rows, in the order of the names.

    The sum of each center is scaled to unit length before the whole (Arandjelovic and
    Zisserman 2013, "All about VLAD"), so that repeated texture does not outweigh the
    rest; what all images share, their mean, is subtracted at the end. An image without
    keypoints has zeros.

    Args:
        centers: of k-means; fewer if the store has fewer descriptors.
        seed: of the descriptors that k-means starts at; the same store and seed give
            the same rows.
    """
    found = _centers(reader, centers, seed)

    def aggregate(descriptors: np.ndarray) -> np.ndarray:
        assigned = _assign(descriptors, found)
        counts = assigned.sum(axis=0)[:, None]
        return _unit(assigned.T @ descriptors - counts * found).ravel()

    rows = _pool(reader, aggregate)
    there = rows.any(axis=1)
    if there.any():
        rows[there] -= rows[there].mean(axis=0)
    return _unit(rows)


def neighbors(vectors: np.ndarray, count: int) -> np.ndarray:
    """Return (N, min(count, N - 1)) indices of the rows most similar to each row.

    The most similar is first, and a row is not its own neighbor.

    Args:
        vectors: (N, D) float32, unit rows.
    """
    total = len(vectors)
    kept = min(count, total - 1)
    if kept < 1:
        return np.empty((total, 0), np.intp)
    found = np.empty((total, kept), np.intp)
    for start in range(0, total, ROWS):
        similarity = vectors[start : start + ROWS] @ vectors.T
        rows = np.arange(len(similarity))
        similarity[rows, start + rows] = -np.inf
        best = np.argpartition(-similarity, kept - 1, axis=1)[:, :kept]
        best.sort(axis=1)
        order = np.argsort(-similarity[rows[:, None], best], axis=1, kind="stable")
        found[start : start + ROWS] = np.take_along_axis(best, order, axis=1)
    return found


def _pool(
    reader: StoreReader, aggregate: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Return unit rows of what `aggregate` makes of each image's descriptors."""
    rows: list[np.ndarray | None] = []
    for name in reader.names():
        descriptors = reader.read(name).descriptors
        rows.append(aggregate(descriptors) if len(descriptors) else None)
    width = next((row.size for row in rows if row is not None), 0)
    empty = np.zeros(width, np.float32)
    pooled = np.array([empty if row is None else row for row in rows], np.float32)
    return _unit(pooled.reshape(len(rows), width))


def _centers(reader: StoreReader, count: int, seed: int) -> np.ndarray:
    """Return (K, D) float32 centers of k-means on descriptors of all images."""
    generator = np.random.default_rng(seed)
    names = reader.names()
    step = max(1, -(-len(names) * SAMPLE // MAX_SAMPLES))
    parts = [reader.read(name).descriptors[:SAMPLE] for name in names[::step]]
    descriptors = np.concatenate(parts) if parts else np.empty((0, 1), np.float32)
    start = generator.permutation(len(descriptors))[:count]
    centers = descriptors[np.sort(start)]
    for _ in range(ROUNDS):
        sums = _assign(descriptors, centers).T @ descriptors
        moved = np.where(sums.any(axis=1, keepdims=True), _unit(sums), centers)
        if np.array_equal(moved, centers):
            break
        centers = moved
    return centers


def _assign(descriptors: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Return (N, K) float32: 1 where a descriptor's nearest center is, else 0."""
    assigned = np.zeros((len(descriptors), len(centers)), np.float32)
    if assigned.size:
        nearest = (descriptors @ centers.T).argmax(axis=1)
        assigned[np.arange(len(descriptors)), nearest] = 1
    return assigned


def _unit(rows: np.ndarray) -> np.ndarray:
    """Scale rows to unit length; rows of zeros stay."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
