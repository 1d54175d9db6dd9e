"""Track keypoints from frame to frame by their descriptors."""

from collections import deque
from dataclasses import dataclass

import numpy as np

from kpextract.features import Features
from kpextract.matching import check_bounds, match

MIN_SIMILARITY = 0.8  # min cosine between a keypoint and its next sighting
PATIENCE = 3  # consecutive frames a track may be missing; more gains little
TAIL = 30  # frames


@dataclass(frozen=True, eq=False)
class Tracks:
    """Assign each keypoint of a frame to a track.

    Attributes:
        ids: (N,) int64, in the order of the frame's keypoints; an id is never reused.
        lengths: (N,) int64, number of frames with the track, including this one.
    """

    ids: np.ndarray
    lengths: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class _Pool:
    """Hold the last sighting of each track that may continue, (P,) rows."""

    features: Features
    ids: np.ndarray
    lengths: np.ndarray
    missed: np.ndarray  # frames since that sighting


class Tracker:
    """Track keypoints by mutual nearest neighbors among descriptors.

    An unmatched keypoint starts a track; a track that is missing from more than
    `PATIENCE` consecutive frames ends. No motion model restricts the search, so the
    camera may turn arbitrarily fast. Not thread-safe.
    """

    def __init__(
        self,
        *,
        min_similarity: float = MIN_SIMILARITY,
        max_ratio: float = 1.0,
        tail: int = TAIL,
    ):
        """Start with no tracks.

        Args:
            min_similarity, max_ratio: as for `match`.
            tail: max number of frames that `tails` returns.

        Raises:
            InvalidOptionError: a bound is outside its range.
        """
        check_bounds(min_similarity, max_ratio)
        self._bounds = {"min_similarity": min_similarity, "max_ratio": max_ratio}
        self._pool: _Pool | None = None
        self._begun = 0
        # Ids and keypoints of recent frames, newest last.
        self._history: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=tail)

    @property
    def count(self) -> int:
        """Number of tracks started so far."""
        return self._begun

    def update(self, features: Features) -> Tracks:
        """Match the next frame's keypoints to the tracks, and start new ones.

        Raises:
            InvalidOptionError: the features come from a different model than before.
        """
        ids = np.full(len(features), -1)
        lengths = np.zeros(len(features), np.int64)
        seen = np.empty(0, np.intp)  # rows of the pool
        if self._pool is not None:
            seen, found = match(self._pool.features, features, **self._bounds).T
            ids[found], lengths[found] = self._pool.ids[seen], self._pool.lengths[seen]
        begins = ids < 0
        ids[begins] = self._begun + np.arange(begins.sum())
        tracks = Tracks(ids, lengths + 1)
        self._begun += int(begins.sum())
        self._pool = self._pooled(features, tracks, seen)
        self._history.append((ids, features.keypoints))
        return tracks

    def _pooled(self, features: Features, tracks: Tracks, seen: np.ndarray) -> _Pool:
        """Return this frame's tracks, then the missing ones that may still continue."""
        missed = np.zeros(len(tracks), np.int64)
        pool = self._pool
        if pool is None:
            return _Pool(features, tracks.ids, tracks.lengths, missed)
        lost = pool.missed < PATIENCE
        lost[seen] = False
        old = pool.features
        return _Pool(
            Features(
                np.concatenate([features.keypoints, old.keypoints[lost]]),
                np.concatenate([features.scores, old.scores[lost]]),
                np.concatenate([features.descriptors, old.descriptors[lost]]),
                features.image_size,
            ),
            np.concatenate([tracks.ids, pool.ids[lost]]),
            np.concatenate([tracks.lengths, pool.lengths[lost]]),
            np.concatenate([missed, pool.missed[lost] + 1]),
        )

    def tails(self) -> np.ndarray:
        """Return the recent positions of the newest frame's keypoints.

        Returns:
            (T, N, 2) float32 x and y in pixels, newest frame first; NaN where the
            track is missing.
        """
        count = len(self._history[-1][0]) if self._history else 0
        tails = np.full((len(self._history), count, 2), np.nan, np.float32)
        for tail, (ids, keypoints) in zip(tails, reversed(self._history), strict=True):
            _, now, then = np.intersect1d(
                self._history[-1][0], ids, assume_unique=True, return_indices=True
            )
            tail[now] = keypoints[then]
        return tails
