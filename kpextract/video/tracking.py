"""Keypoints followed from frame to frame by their descriptors."""

from collections import deque
from dataclasses import dataclass

import numpy as np

from kpextract.features import Features
from kpextract.matching import check_bounds, match

MIN_SIMILARITY = 0.8  # cosine of a keypoint to itself in the frame before, at least
PATIENCE = 3  # frames in a row in which a track may be missed; more gains little
TAIL = 30  # frames


@dataclass(frozen=True, eq=False)
class Tracks:
    """Which track each keypoint of a frame belongs to.

    Attributes:
        ids: (N,) int64, in the order of the frame's keypoints; a number is given once.
        lengths: (N,) int64, frames in which the track was seen, this one included.
    """

    ids: np.ndarray
    lengths: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class _Pool:
    """The last sight of each track that may go on, (P,) rows."""

    features: Features
    ids: np.ndarray
    lengths: np.ndarray
    missed: np.ndarray  # frames since then


class Tracker:
    """Tracks by mutual nearest neighbors among descriptors of neighboring frames.

    A keypoint without a match begins a track; a track that is missed in more than a few
    frames in a row has ended. Where a keypoint may have moved to is not looked at, so a
    camera may turn as fast as it likes. For one thread.
    """

    def __init__(
        self,
        *,
        min_similarity: float = MIN_SIMILARITY,
        max_ratio: float = 1.0,
        tail: int = TAIL,
    ):
        """Start without tracks.

        Args:
            min_similarity, max_ratio: as for `match`.
            tail: frames, at most, that `tails` goes back.

        Raises:
            InvalidOptionError: a bound outside its range.
        """
        check_bounds(min_similarity, max_ratio)
        self._bounds = {"min_similarity": min_similarity, "max_ratio": max_ratio}
        self._pool: _Pool | None = None
        self._begun = 0
        # Ids and keypoints of the last frames, newest last.
        self._history: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=tail)

    @property
    def count(self) -> int:
        """Tracks that have begun until now."""
        return self._begun

    def update(self, features: Features) -> Tracks:
        """The tracks of the next frame.

        Raises:
            InvalidOptionError: the features are of another model than those before.
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
        """This frame's tracks, then those that were missed but not for too long."""
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
        """Where the keypoints of the newest frame have been.

        Returns:
            (T, N, 2) float32 x and y in pixels, the newest frame first; NaN where a
            track was not seen.
        """
        count = len(self._history[-1][0]) if self._history else 0
        tails = np.full((len(self._history), count, 2), np.nan, np.float32)
        for tail, (ids, keypoints) in zip(tails, reversed(self._history), strict=True):
            _, now, then = np.intersect1d(
                self._history[-1][0], ids, assume_unique=True, return_indices=True
            )
            tail[now] = keypoints[then]
        return tails
