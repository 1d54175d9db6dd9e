"""Learned sub-pixel refinement of keypoints.

It is part of a model, beside its dense maps: a small network reads the patch around
each kept point, moves the point by at most 2 px and estimates its error; rank and
descriptor stay.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kpextract.errors import ModelError

KEY = "kpextract.refinement"  # in the model's metadata
PATCH_SIDE = 13  # pixels, odd
REACH = 2.0  # pixels that a point may move, each way
WHITE = 255  # of 8 bits
# Added to the deviation of a patch, as a share of white: five of 255, so that the noise
# of a flat patch is not amplified into structure.
FLAT = 0.02
# Channel of the patches: green, which a camera samples most densely, and which is read
# without converting the whole image.
CHANNEL = 1
# Columns of a product at once: OpenBLAS takes one thread for up to 2^18 multiply-adds.
BLOCK = 16
LOG_SIGMA = (-3.0, 1.5)  # range of log sigma: 0.05 px to 4.5 px


@dataclass(frozen=True)
class Refinement:
    """Weights of the layers, float32 (inputs, outputs), and their biases."""

    weights: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]

    def __call__(
        self, image: np.ndarray, points: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Refine keypoints.

        Args:
            image: (H, W, 3) uint8, the engine's input.
            points: (N, 2) float32, x and y in its pixels.

        Returns:
            points: (N, 2) float32, moved.
            sigma: (N,) float32, the expected error in pixels, per axis.
        """
        values = normalize_patches(sample_patches(image, points))
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            values = _product(weight, values)
            values += bias[:, None]
            np.maximum(values, 0, out=values)
        values = self.weights[-1].T @ values + self.biases[-1][:, None]
        moved = points + np.float32(REACH) * np.tanh(values[:2]).T
        return moved, np.exp(np.clip(values[2], *LOG_SIGMA))

    def to_text(self) -> str:
        """Encode the weights for a model's metadata; `from_text` reads it."""
        layers = [
            {
                "shape": array.shape,
                "float32": base64.b64encode(array.tobytes()).decode(),
            }
            for array in (*self.weights, *self.biases)
        ]
        return json.dumps(layers)

    @classmethod
    def from_text(cls, text: str) -> "Refinement":
        """Decode the text of `to_text`.

        Raises:
            ModelError: the text is not that of a refinement.
        """
        try:
            arrays = [
                np.frombuffer(base64.b64decode(layer["float32"]), "<f4").reshape(
                    layer["shape"]
                )
                for layer in json.loads(text)
            ]
            half = len(arrays) // 2
            refinement = cls(tuple(arrays[:half]), tuple(arrays[half:]))
            refinement._check()
        except (
            ValueError,
            TypeError,
            KeyError,
            RecursionError,
            binascii.Error,
        ) as error:
            raise ModelError(
                f"the model's {KEY} metadata is not a refinement ({error}). Export the "
                "model again."
            ) from error
        return refinement

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> "Refinement | None":
        """Return the refinement in a dense model's metadata, or None.

        Raises:
            ModelError: the entry is corrupt.
        """
        return cls.from_text(metadata[KEY]) if KEY in metadata else None

    def _check(self) -> None:
        """Raise ValueError unless the layers follow each other from patch to output."""
        widths = [PATCH_SIDE**2]
        for weight, bias in zip(self.weights, self.biases, strict=True):
            if weight.ndim != 2 or weight.shape[0] != widths[-1]:
                raise ValueError(f"a layer of {widths[-1]} inputs has {weight.shape}")
            if bias.shape != weight.shape[1:]:
                raise ValueError(f"a bias of {weight.shape} has {bias.shape}")
            widths.append(weight.shape[1])
        if widths[-1] != 3:
            raise ValueError(f"the last layer has {widths[-1]} outputs, not 3")
        if not all(np.isfinite(a).all() for a in (*self.weights, *self.biases)):
            raise ValueError("a weight is not finite")


def _product(weight: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return weight.T @ values, in blocks of columns too small for threads.

    A BLAS that takes several threads waits for each of them. Next to ONNX Runtime's,
    which spin for a while after each call, that is up to forty times the product.

    Args:
        weight: (K, M).
        values: (K, N).
    """
    (inner, outer), count = weight.shape, values.shape[1]
    blocks, rest = divmod(count, BLOCK)
    whole = values[:, : count - rest].reshape(inner, blocks, BLOCK).transpose(1, 0, 2)
    result = np.empty((outer, count), values.dtype)
    parts = result[:, : count - rest].reshape(outer, blocks, BLOCK).transpose(1, 0, 2)
    np.matmul(weight.T, whole, out=parts)
    np.matmul(weight.T, values[:, count - rest :], out=result[:, count - rest :])
    return result


def sample_patches(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Cut the square patch around each point, bilinear, with replicated borders.

    Args:
        image: (H, W, 3) uint8.
        points: (N, 2) float32 pixels.

    Returns:
        (169, N) float32 in [0, 255], a column per point, its patch row by row. Points
        come last so that each step works on long rows: five times faster.
    """
    height, width = image.shape[:2]
    corner = np.floor(points)
    across, down = (points - corner).T
    left, top = corner.astype(np.intp).T
    # One more row and column than the patch has: what lies between is mixed.
    steps = np.arange(-(PATCH_SIDE // 2), PATCH_SIDE // 2 + 2)[:, None]
    columns = 3 * np.clip(left + steps, 0, width - 1) + CHANNEL
    rows = 3 * width * np.clip(top + steps, 0, height - 1)
    flat = np.ascontiguousarray(image).reshape(-1)
    values = flat.take(rows[:, None] + columns, mode="clip").astype(np.float32)
    mixed = values[:, 1:] - values[:, :-1]
    mixed *= across
    mixed += values[:, :-1]
    patches = mixed[1:] - mixed[:-1]
    patches *= down
    patches += mixed[:-1]
    return patches.reshape(PATCH_SIDE**2, len(points))


def normalize_patches(patches: np.ndarray) -> np.ndarray:
    """Subtract each patch's mean and divide by its deviation plus `FLAT`.

    Args:
        patches: (169, N) as `sample_patches` gives them.
    """
    centered = patches - patches.mean(axis=0)
    deviation = np.sqrt(np.einsum("pn,pn->n", centered, centered) / len(patches))
    centered /= deviation + np.float32(WHITE * FLAT)
    return centered
