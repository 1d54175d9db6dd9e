"""Draw the pairs of a step: homographies, scenes with depth and real scenes."""

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from training import parallel
from training.config import TrainConfig
from training.correspondence import Correspondence, Homographies, Occluded, Stacked
from training.depth.boxes import make_boxed_pairs
from training.depth.layers import make_layered_pairs
from training.homography import Size, WarpRanges
from training.light import relight
from training.pairs import make_views
from training.photometric import PhotometricRanges, augment
from training.real.scene_pairs import Scenes, draw_scene_pairs
from training.truth import Tracks, Truth

# A new network cannot use large turns yet: a run starts with a third of them.
RAMP_START = 1 / 3
DEPTH = (make_layered_pairs, make_boxed_pairs)  # they take turns
TURNS = WarpRanges(any_turn=0.1, far=0.15)
# Shares of the pairs with both views in fair light, and with one.
BOTH_FAIR, ONE_FAIR = 0.5, 0.3
# What the positions of a pair are worth where a view is in hard light: blur, night and
# shadows move what the image shows.
UNFAIR = 0.25


class Sources(NamedTuple):
    """What pairs are made of.

    photos: (N, 3, H, W) uint8 BGR.
    scenes: photos of real scenes with their tracks, or None.
    """

    photos: Tensor
    scenes: Scenes | None = None


class Batch(NamedTuple):
    """Pairs of views, (B, 3, H, W) float32 BGR in [0, 1], and what is known of them."""

    images0: Tensor
    images1: Tensor
    truth: Truth


def warp_ranges(config: TrainConfig, share: float) -> WarpRanges:
    """How far views turn and zoom; it grows as the run goes on."""
    ramp = 1.0 if share >= config.ramp else share / config.ramp
    grown = RAMP_START + (1 - RAMP_START) * ramp
    return replace(
        TURNS,
        rotation_std=grown * TURNS.rotation_std,
        any_turn=ramp * TURNS.any_turn,
        far=ramp * TURNS.far,
    )


def count_kinds(batch: int, mix: tuple[int, int, int], scenes: bool) -> list[int]:
    """How many pairs of a batch are homographies, scenes with depth and real scenes.

    Without real scenes their part goes to the other two.
    """
    weights = mix if scenes else (*mix[:2], 0)
    depth, real = (batch * weight // sum(weights) for weight in weights[1:])
    return [batch - depth - real, depth, real]


def draw_batch(sources: Sources, config: TrainConfig, step: int, share: float) -> Batch:
    """The pairs of one step.

    They depend on the seed, the step and how far the run is, so a resumed run sees what
    it would have seen. The last part of a run has views of twice the side and a quarter
    of the batch: as many pixels a step, in one image.

    Args:
        sources: on the device where the work is done.
        share: of the run that is done, 0 to 1.
    """
    photos, scenes = sources
    generator = torch.Generator(photos.device)
    turn = step * parallel.world_size() + parallel.rank()
    generator.manual_seed(config.seed * 1_000_003 + turn)
    (height, width), batch = config.view_size, config.batch
    if share >= 1 - config.finish:
        height, width, batch = 2 * height, 2 * width, max(1, batch // 4)
    size = (height, width)
    planes, depth, real = count_kinds(batch, config.mix, scenes is not None)

    views: list[tuple[Tensor, Tensor]] = []
    there: list[Correspondence] = []
    back: list[Correspondence] = []
    if planes:
        chosen = photos[_draw(len(photos), planes, generator)]
        pair = make_views(chosen, size, generator, warp_ranges(config, share))
        views.append((pair.images0, pair.images1))
        there.append(Homographies(pair.homography, size))
        back.append(Homographies(torch.linalg.inv(pair.homography), size))
    if depth:
        make = DEPTH[step % len(DEPTH)]
        scene = make(photos, size, generator, depth)
        views.append((scene.images0, scene.images1))
        there.append(scene.map0to1)
        back.append(scene.map1to0)
    tracks = None
    if real:
        assert scenes is not None
        drawn = draw_scene_pairs(scenes, real, size, generator)
        views.append((drawn.images0, drawn.images1))
        tracks = Tracks(drawn.points0, drawn.points1, drawn.mask, drawn.fundamental)

    images0, images1 = (torch.cat(images) for images in zip(*views, strict=True))
    strength = 1.0 if share >= config.ramp else share / config.ramp
    fair = _draw_fair(len(images0), generator)
    (lit0, covered0), (lit1, covered1) = (
        _light(images, photos, where, strength, generator)
        for images, where in zip((images0, images1), fair, strict=True)
    )
    known = planes + depth
    covered0, covered1 = covered0[:known], covered1[:known]
    counts = [count for count in (planes, depth) if count]
    truth = Truth(
        Occluded(Stacked(there, counts), covered0, covered1),
        Occluded(Stacked(back, counts), covered1, covered0),
        torch.where(fair.all(dim=0)[:known], 1.0, UNFAIR),
        tracks,
    )
    return Batch(lit0, lit1, truth)


def _draw_fair(count: int, generator: torch.Generator) -> Tensor:
    """(2, B) bool, which views of each pair are in fair light."""
    order = torch.randperm(count, generator=generator, device=generator.device)
    both, either = (
        order < round(share * count) for share in (BOTH_FAIR, BOTH_FAIR + ONE_FAIR)
    )
    first = order % 2 == 0
    return torch.stack((both | (either & first), both | (either & ~first)))


def _light(
    images: Tensor,
    photos: Tensor,
    fair: Tensor,
    strength: float,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Put some views in fair light and the others in the light of anywhere.

    Returns:
        images: channels last: convolutions on bfloat16 are made for it.
        covered: (B, H, W) bool, what something is pasted over.
    """
    lit = torch.empty_like(images, memory_format=torch.channels_last)
    covered = fair.new_zeros(len(images), *images.shape[-2:])
    easy, hard = fair.nonzero()[:, 0], (~fair).nonzero()[:, 0]
    if len(easy):
        lit[easy] = augment(images[easy], PhotometricRanges(), generator)
    if len(hard):
        others = photos[_draw(len(photos), len(hard), generator)]
        others = _fit(others, images.shape[-2:])
        lit[hard], covered[hard] = relight(images[hard], others, generator, strength)
    return lit, covered


def _fit(photos: Tensor, size: Size) -> Tensor:
    """Photos of the cache as float32 images of another size, their shape not kept."""
    return F.interpolate(photos, size).float() / 255


def _draw(total: int, count: int, generator: torch.Generator) -> Tensor:
    return torch.randint(total, (count,), generator=generator, device=generator.device)
