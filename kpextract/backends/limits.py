"""The shapes that a model takes, where it does not take all."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from kpextract.decode import DenseMaps, SparseRows
from kpextract.errors import InvalidImageError
from kpextract.image import STRIDE

Run = Callable[[np.ndarray, np.ndarray | None], DenseMaps | SparseRows]


@dataclass(frozen=True)
class Limits:
    """Least and most (batch, height, width) of one call, in images and pixels.

    A fixed dimension has both equal; None as `most` is no limit.
    """

    least: tuple[int, int, int] = (1, STRIDE, STRIDE)
    most: tuple[int | None, int | None, int | None] = (None, None, None)

    @property
    def allow_half(self) -> bool:
        """Is there an image of which both it and its half have an allowed size?"""
        return all(
            high is None or high // 2 > low - STRIDE  # padded to the stride
            for low, high in zip(self.least[1:], self.most[1:], strict=True)
        )

    def check(self, images: np.ndarray) -> None:
        """Raise unless the images' height and width are allowed.

        Args:
            images: (B, H, W, 3), padded to multiples of the stride.

        Raises:
            InvalidImageError: they are not; the message has the allowed range.
        """
        given = images.shape[1:3]
        if all(
            low <= side and (high is None or side <= high)
            for side, low, high in zip(
                given, self.least[1:], self.most[1:], strict=True
            )
        ):
            return
        raise InvalidImageError(
            f"this model takes images {self._allowed()} (width x height, padded to "
            f"multiples of {STRIDE}), got {given[1]}x{given[0]}. Resize or crop the "
            "image, or export a model or build an engine for this size."
        )

    def _allowed(self) -> str:
        """Sizes as a person reads them."""
        least = f"{self.least[2]}x{self.least[1]}"
        if self.most[1:] == self.least[1:]:
            return f"of {least} only"
        most = "x".join(str(side or "any") for side in self.most[:0:-1])
        return f"from {least} to {most}"

    def parts(self, count: int) -> Iterator[tuple[slice, int]]:
        """A batch as calls: the images of each, and by how many to fill it up."""
        most = self.most[0] or count
        for start in range(0, count, most):
            stop = min(start + most, count)
            yield slice(start, stop), max(0, self.least[0] - (stop - start))


def run_within(
    limits: Limits, run: Run, images: np.ndarray, masks: np.ndarray | None
) -> DenseMaps | SparseRows:
    """One batch in as many calls as the model's batch size asks for.

    A call that needs more images than there are gets the last one again; what it says
    of the copies is dropped.

    Raises:
        InvalidImageError: a size that the model does not take.
    """
    limits.check(images)
    results = []
    for part, missing in limits.parts(len(images)):
        result = run(
            _fill_up(images[part], missing),
            None if masks is None else _fill_up(masks[part], missing),
        )
        count = part.stop - part.start
        results.append(type(result)(*(array[:count] for array in result)))
    if len(results) == 1:
        return results[0]
    return type(results[0])(*map(np.concatenate, zip(*results, strict=True)))


def _fill_up(batch: np.ndarray, missing: int) -> np.ndarray:
    return (
        np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)])
        if missing
        else batch
    )
