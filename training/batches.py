"""Draw the pairs of a training step: homographies, scenes with depth, real scenes."""

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

# An untrained network cannot learn from large rotations: a run starts with a third.
RAMP_START = 1 / 3
DEPTH = (make_layered_pairs, make_boxed_pairs)  # alternate from step to step
TURNS = WarpRanges(any_turn=0.1, far=0.15)
# Fractions of the pairs with both views in fair light, and with one.
BOTH_FAIR, ONE_FAIR = 0.5, 0.3
# Weight of a pair's positions if a view is in hard light: blur, night and shadows move
# the visible structure.
UNFAIR = 0.25


class Sources(NamedTuple):
    """Photos and scenes that pairs are drawn from.

    photos: (N, 3, H, W) uint8 BGR.
    scenes: real scenes with their tracks, or None.
    """

    photos: Tensor
    scenes: Scenes | None = None


class Batch(NamedTuple):
    """Pairs of (B, 3, H, W) float32 BGR views in [0, 1], and their ground truth."""

    images0: Tensor
    images1: Tensor
    truth: Truth


def warp_ranges(config: TrainConfig, share: float) -> WarpRanges:
    """Return the ranges of rotation and zoom, which grow over the run."""
    ramp = 1.0 if share >= config.ramp else share / config.ramp
    grown = RAMP_START + (1 - RAMP_START) * ramp
    return replace(
        TURNS,
        rotation_std=grown * TURNS.rotation_std,
        any_turn=ramp * TURNS.any_turn,
        far=ramp * TURNS.far,
    )


def count_kinds(batch: int, mix: tuple[int, int, int], scenes: bool) -> list[int]:
    """Return the numbers of homographies, scenes with depth and real scenes.

    Without real scenes, their share goes to the other two.
    """
    weights = mix if scenes else (*mix[:2], 0)
    depth, real = (batch * weight // sum(weights) for weight in weights[1:])
    return [batch - depth - real, depth, real]


def draw_batch(sources: Sources, config: TrainConfig, step: int, share: float) -> Batch:
    """Draw the pairs of one step.

    The pairs depend only on the seed, the step and the progress, so a resumed run sees
    what it would have seen. The last part of a run has views of twice the side and a
    quarter of the batch: as many pixels per step, in larger images.

    Args:
        sources: on the device where the work is done.
        config: of the run.
        step: number of the step.
        share: completed fraction of the run, 0 to 1.
    """
    generator = torch.Generator(sources.photos.device)
    turn = step * parallel.world_size() + parallel.rank()
    generator.manual_seed(config.seed * 1_000_003 + turn)
    views = _draw_views(sources, config, step, share, generator)
    images0, images1 = views.images0, views.images1
    strength = 1.0 if share >= config.ramp else share / config.ramp
    fair = _draw_fair(len(images0), generator)
    (lit0, covered0), (lit1, covered1) = (
        _light(images, sources.photos, where, strength, generator)
        for images, where in zip((images0, images1), fair, strict=True)
    )
    known = sum(views.counts)
    covered0, covered1 = covered0[:known], covered1[:known]
    truth = Truth(
        Occluded(Stacked(views.there, views.counts), covered0, covered1),
        Occluded(Stacked(views.back, views.counts), covered1, covered0),
        torch.where(fair.all(dim=0)[:known], 1.0, UNFAIR),
        views.tracks,
    )
    return Batch(lit0, lit1, truth)


class _Views(NamedTuple):
    """Pairs of views in the light of their photos, one kind after the other.

    there, back: correspondences of the kinds that have them, and `counts` their pairs.
    tracks: of the real scenes, which come last; None if there are none.
    """

    images0: Tensor
    images1: Tensor
    there: list[Correspondence]
    back: list[Correspondence]
    counts: list[int]
    tracks: Tracks | None


def _draw_views(
    sources: Sources,
    config: TrainConfig,
    step: int,
    share: float,
    generator: torch.Generator,
) -> _Views:
    """Draw the views of a step in their own light; arguments as for `draw_batch`."""
    photos, scenes = sources
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
    counts = [count for count in (planes, depth) if count]
    return _Views(images0, images1, there, back, counts, tracks)


def _draw_fair(count: int, generator: torch.Generator) -> Tensor:
    """Draw (2, B) bool, True for views in fair light."""
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
    """Put some views in fair light and the others in hard light.

    Returns:
        images: in channels-last layout, which bfloat16 convolutions prefer.
        covered: (B, H, W) bool, True where an occluder is pasted over the view.
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
    """Resize cached photos to float32 images, ignoring their aspect ratio."""
    return F.interpolate(photos, size).float() / 255


def _draw(total: int, count: int, generator: torch.Generator) -> Tensor:
    return torch.randint(total, (count,), generator=generator, device=generator.device)
