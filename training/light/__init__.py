"""Simulate day and night, seasons, weather and cameras.

`photometric.py` makes the changes of a good camera in fair light; these effects go far
beyond it. None moves image content: most change each pixel by itself, and those that
mix neighbors preserve centroids to a few hundredths of a pixel.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from training.light.air import fog, occluders, rain
from training.light.camera import glare, motion, night, resolution, vignette
from training.light.draws import Batch, Draws
from training.light.processing import color_transfer, jpeg, tone, tone_transfer
from training.light.ranges import LightRanges
from training.light.scene import foliage, lamps, lights, shadows, snow

__all__ = ["EFFECTS", "LightRanges", "Relit", "relight"]

# In the order in which light, camera and storage affect a scene. The names are those of
# the probabilities in LightRanges. Only `occluders` also returns what it covers.
EFFECTS: dict[str, Callable[[Batch, LightRanges], Tensor | tuple[Tensor, Tensor]]] = {
    effect.__name__: effect
    for effect in (
        foliage,
        snow,
        shadows,
        lights,
        lamps,
        fog,
        rain,
        occluders,
        color_transfer,
        tone_transfer,
        glare,
        vignette,
        motion,
        night,
        resolution,
        tone,
        jpeg,
    )
}


class Relit(NamedTuple):
    """Images under changed light.

    images: (B, 3, H, W) float32 BGR in [0, 1].
    covered: (B, H, W) bool, True where an occluder hides the scene.
    """

    images: Tensor
    covered: Tensor


def relight(
    images: Tensor,
    others: Tensor,
    generator: torch.Generator,
    strength: float = 1.0,
    ranges: LightRanges | None = None,
) -> Relit:
    """Change each image's light, season, weather and camera on its own.

    Args:
        images: (B, 3, H, W) float32 BGR in [0, 1]; not modified.
        others: (B, 3, H, W) one other photo per image, the source of color, tone and
            occluders.
        generator: on the same device; fixes the result.
        strength: scale of every effect, 0 to 1; at 0 nothing changes.
        ranges: probabilities and full strengths.
    """
    ranges = ranges or LightRanges()
    draws = Draws(generator)
    images = images.clone(memory_format=torch.contiguous_format)
    covered = torch.zeros_like(images[:, 0], dtype=torch.bool)
    for name, effect in EFFECTS.items():
        chance = draws.uniform(0, 1, len(images))
        amount = strength * draws.uniform(ranges.least, 1, len(images), 1, 1, 1)
        chosen = torch.nonzero(chance < getattr(ranges, name))[:, 0]
        if len(chosen) == 0 or strength == 0:
            continue
        part, other = (views.index_select(0, chosen) for views in (images, others))
        changed = effect(Batch(part, other, amount[chosen], draws), ranges)
        if isinstance(changed, tuple):
            changed, hidden = changed
            covered[chosen] = hidden
        images.index_copy_(0, chosen, changed.clamp_(0, 1))
    return Relit(images, covered)
