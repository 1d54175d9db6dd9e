"""Draw the pairs of a step: homographies, scenes with depth and real scenes."""

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from training import parallel
from training.boxes import make_box_pairs
from training.config import TrainConfig
from training.correspondence import Correspondence, Homographies, Occluded, Stacked
from training.homography import Size, WarpRanges
from training.layers import make_layered_pairs
from training.light import relight
from training.pairs import make_views
from training.photometric import PhotometricRanges, augment
from training.scene_pairs import Scenes, draw_scene_pairs
from training.truth import Tracks, Truth

# A new network cannot use large turns yet: a run starts with a third of them.
RAMP_START = 1 / 3
TURNS = WarpRanges(any_turn=0.2, far=0.25)
CLEAN = 0.5  # share of the views in fair light
# What the positions of a pair are worth where a view is in hard light: blur, night and
# shadows move what the image shows.
UNFAIR = 0.25


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


def draw_batch(
    photos: Tensor,
    scenes: Scenes | None,
    config: TrainConfig,
    step: int,
    share: float,
) -> Batch:
    """The pairs of one step.

    They depend on the seed, the step and how far the run is, so a resumed run sees what
    it would have seen. The last part of a run has views of twice the side and a quarter
    of the batch: as many pixels a step, in one image.

    Args:
        photos: (N, 3, H, W) uint8 BGR, on the device where the work is done.
        scenes: photos of real scenes with their tracks, or None.
        share: of the run that is done, 0 to 1.
    """
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
        make = make_layered_pairs if step % 2 else make_box_pairs
        scene = make(photos, depth, size, generator)
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
    lit = [_light(images, photos, strength, generator) for images in (images0, images1)]
    known = planes + depth
    clean = (lit[0].clean & lit[1].clean)[:known]
    covered0, covered1 = (view.covered[:known] for view in lit)
    counts = [count for count in (planes, depth) if count]
    truth = Truth(
        Occluded(Stacked(there, counts), covered0, covered1),
        Occluded(Stacked(back, counts), covered1, covered0),
        torch.where(clean, 1.0, UNFAIR),
        tracks,
    )
    return Batch(lit[0].images, lit[1].images, truth)


class _Lit(NamedTuple):
    """Views in their light.

    images: (B, 3, H, W), channels last: convolutions on bfloat16 are made for it.
    covered: (B, H, W) bool, what something is pasted over.
    clean: (B,) bool, in fair light.
    """

    images: Tensor
    covered: Tensor
    clean: Tensor


def _light(
    images: Tensor, photos: Tensor, strength: float, generator: torch.Generator
) -> _Lit:
    """Half of the views in fair light, the others in the light of anywhere."""
    count, device = len(images), images.device
    clean = torch.rand(count, generator=generator, device=device) < CLEAN
    fair, hard = clean.nonzero()[:, 0], (~clean).nonzero()[:, 0]
    others = photos[_draw(len(photos), len(hard), generator)]
    relit = relight(images[hard], _fit(others, images.shape[-2:]), generator, strength)
    lit = images.new_empty(images.shape)
    lit[fair] = augment(images[fair], PhotometricRanges(), generator)
    lit[hard] = relit.images
    covered = clean.new_zeros(count, *images.shape[-2:])
    covered[hard] = relit.covered
    return _Lit(lit.contiguous(memory_format=torch.channels_last), covered, clean)


def _fit(photos: Tensor, size: Size) -> Tensor:
    """Photos of the cache as float32 images of another size, their shape not kept."""
    return F.interpolate(photos, size).float() / 255


def _draw(total: int, count: int, generator: torch.Generator) -> Tensor:
    return torch.randint(total, (count,), generator=generator, device=generator.device)
