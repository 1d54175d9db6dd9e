"""Match many pairs of images of a store, and continue where an earlier run ended."""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, Protocol

import numpy as np

from kpextract.bulk.pairs import Pair
from kpextract.cpus import usable_cpus
from kpextract.features import Features
from kpextract.formats.pair_matches import PairMatches
from kpextract.formats.store import StoreReader
from kpextract.matching import match

CACHE_BYTES = 1 << 30  # of features in memory at once
AHEAD = 4  # pairs per thread that are waiting or done and not yet written


class MatchOutput(Protocol):
    """Where matches are written, by one thread."""

    def done(self) -> set[Pair]:
        """Return the pairs that are written, each with its names as they were given."""
        ...

    def add(self, matches: PairMatches) -> None:
        """Write the matches of a pair, whole or not at all."""
        ...

    def close(self) -> None:
        """Finish the output."""
        ...


class Matched(NamedTuple):
    """Count what a run did.

    pairs: that were matched.
    skipped: pairs that an earlier run had matched.
    matches: of the pairs that were matched now.
    """

    pairs: int
    skipped: int
    matches: int


class FeatureCache:
    """Read features of a store, and keep those used last within a number of bytes."""

    def __init__(self, reader: StoreReader, max_bytes: int = CACHE_BYTES) -> None:
        self._reader = reader
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[str, Features] = OrderedDict()

    def __getitem__(self, name: str) -> Features:
        if name in self._kept:
            self._kept.move_to_end(name)
            return self._kept[name]
        features = self._reader.read(name)
        self._kept[name] = features
        self._bytes += _bytes_of(features)
        while self._bytes > self._max_bytes and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= _bytes_of(dropped)
        return features


def match_store(
    reader: StoreReader,
    pairs: Sequence[Pair],
    output: MatchOutput,
    *,
    min_similarity: float = -1.0,
    max_ratio: float = 1.0,
    num_threads: int | None = None,
    watch: Callable[[Iterable[Pair]], Iterable[Pair]] = iter,
) -> Matched:
    """Match pairs of images with `kpextract.match` and write the matches in order.

    Pairs that the output holds already, in either order of their names, are skipped.
    Features are kept in memory up to `CACHE_BYTES`.

    Args:
        pairs: names of the images, such as `kpextract.bulk.pairs.choose_pairs` gives.
        min_similarity, max_ratio: as for `kpextract.match`.
        num_threads: pairs matched at once; None uses all available CPUs. The
            result does not depend on it.
        watch: passes on the pairs that are left to match, for progress.

    Raises:
        FeatureFileError: features cannot be read.
        InvalidOptionError: a bound is out of range, or images have descriptors of
            different models.
    """
    done = {frozenset(pair) for pair in output.done()}
    left = [pair for pair in pairs if frozenset(pair) not in done]
    cache, total = FeatureCache(reader), 0

    def run(pair: Pair, features0: Features, features1: Features) -> PairMatches:
        indices = match(
            features0, features1, min_similarity=min_similarity, max_ratio=max_ratio
        )
        rows0, rows1 = (
            features.descriptors[column]
            for features, column in zip((features0, features1), indices.T, strict=True)
        )
        cosines = np.einsum("md,md->m", rows0, rows1)
        scores = np.clip((cosines + 1) / 2, 0, 1)  # as hloc's matcher gives them
        return PairMatches(*pair, indices, len(features0), scores)

    threads = num_threads or usable_cpus()
    with ThreadPoolExecutor(threads) as pool:
        jobs = (
            pool.submit(run, pair, cache[pair[0]], cache[pair[1]])
            for pair in watch(left)
        )
        for found in _in_order(jobs, threads * AHEAD):
            output.add(found)
            total += len(found.indices)
    return Matched(len(left), len(pairs) - len(left), total)


def _in_order(jobs: Iterator[Future[PairMatches]], ahead: int) -> Iterator[PairMatches]:
    """Yield results in the order of their jobs, with at most `ahead` under way."""
    waiting: deque[Future[PairMatches]] = deque()
    for job in jobs:
        waiting.append(job)
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _bytes_of(features: Features) -> int:
    arrays = (features.keypoints, features.scores, features.descriptors, features.sigma)
    return sum(array.nbytes for array in arrays if array is not None)
