"""Effects of season and light: foliage, snow, shadows, colored lights, lamps.

Images are gamma-encoded, so light is a gain on their values too: g on the light is
g^(1/2.2) on the values.
"""

import math

import torch
from torch import Tensor

from training.light.draws import Batch, luma, smoothstep, spline
from training.light.ranges import LightRanges

# BGR per unit of luma: fresh green, yellow, orange, brown, bare gray.
LEAVES_BGR = (
    (0.45, 1.2, 0.8),
    (0.25, 1.05, 1.25),
    (0.25, 0.85, 1.55),
    (0.6, 0.95, 1.2),
    (0.95, 1.0, 1.0),
)
LAMPS = 3
EDGES = 4  # of a polygon that casts a shadow


def foliage(batch: Batch, ranges: LightRanges) -> Tensor:
    """Recolor green, yellow and brown areas to one other leaf color."""
    images, amount = batch.images, batch.amount
    blue, green, red = images.unbind(1)
    # Hues from green to brown have little blue and not much more red than green.
    leaves = (4 * (green - blue) - 4 * (red - green).clamp_(min=0)).clamp_(0, 1)
    colors = torch.tensor(LEAVES_BGR, device=images.device)
    picked = batch.draws.uniform(0, len(colors), len(images)).long()
    target = luma(images) * colors[picked].reshape(-1, 3, 1, 1)
    return images.lerp_(target.clamp_(max=1), leaves[:, None] * amount)


def snow(batch: Batch, ranges: LightRanges) -> Tensor:
    """Cover bright, colorless areas with patches of white, the ground first."""
    images, amount = batch.images, batch.amount
    _, y = batch.pixels()
    height = batch.size[0]
    ground = (y / height - batch.uniform(0.2, 0.8)) * batch.uniform(0, 4)
    gray = luma(images)
    ragged = batch.field(6).add_(batch.field(24), alpha=0.5)
    ragged.add_(batch.field(80), alpha=0.3)
    # Colored and dark objects (cars, gaps, trunks) stay bare longer than the ground.
    colored = images.amax(dim=1, keepdim=True) - images.amin(dim=1, keepdim=True)
    cover = ground + 0.5 * ragged + 2 * (gray - 0.35) - 2 * colored
    cover = smoothstep(1.5 * cover + 2 * amount - 1.5) * amount.sqrt()
    white = (gray * batch.uniform(0.3, 0.5)).add_(batch.uniform(0.45, 0.6))
    tint = torch.tensor([1.05, 1.0, 0.96], device=images.device).reshape(1, 3, 1, 1)
    # Snow is never darker than the surface below.
    return images.lerp_(torch.maximum(white * tint, images), cover)


def shadows(batch: Batch, ranges: LightRanges) -> Tensor:
    """Cast hard or soft shadows of straight edges, polygons or leaves."""
    shade = torch.where(batch.uniform(0, 1) < 0.6, _polygon(batch), _dapple(batch))
    shade = torch.where(batch.uniform(0, 1) < 0.5, shade, 1 - shade)
    # Shadows are lit by the sky, which is bluer than the sun.
    blue = torch.tensor([1.2, 1.0, 0.85], device=shade.device).reshape(1, 3, 1, 1)
    darkest = (ranges.shadow_gain * blue) ** batch.uniform(0.4, 1)
    return batch.images.mul_(1 - shade * batch.amount * (1 - darkest))


def _polygon(batch: Batch) -> Tensor:
    """Draw (N, 1, H, W) masks, 1 inside a convex shape of up to EDGES edges."""
    x, y = batch.pixels()
    height, width = batch.size
    center_x = batch.uniform(0, 1) * width
    center_y = batch.uniform(0, 1) * height
    turn = torch.arange(EDGES, device=x.device).reshape(1, -1, 1, 1) / EDGES
    angle = 2 * math.pi * (turn + batch.uniform(0, 1) + batch.uniform(0, 0.2, EDGES))
    radius = batch.uniform(0.05, 0.6, EDGES) * height
    # Dropping edges leaves a corner, a strip or a half-plane.
    dropped = batch.uniform(0, 1, EDGES) < batch.uniform(0, 1)
    dropped[:, 0] = False
    radius = radius.masked_fill(dropped, 10.0 * width)
    depth = (
        radius - (x - center_x) * torch.cos(angle) - (y - center_y) * torch.sin(angle)
    )
    inside = depth.amin(dim=1, keepdim=True)
    penumbra = torch.exp(batch.uniform(math.log(1.0), math.log(0.25 * height)))
    return smoothstep(inside / penumbra + 0.5)


def _dapple(batch: Batch) -> Tensor:
    """Draw (N, 1, H, W) masks, 1 in the shadow of a tree, with specks of light."""
    crown = batch.field(3).add_(batch.field(12), alpha=0.5)
    leaves = batch.field(36).add_(batch.field(90), alpha=0.7)
    # Denser toward the center of the crown, with specks at gaps between leaves.
    dense = crown.add_(batch.uniform(-0.2, 0.8)).clamp_(-1.5, 1.0)
    return smoothstep((leaves + 1.5 * dense) * batch.uniform(0.4, 1.2) + 0.5)


def lights(batch: Batch, ranges: LightRanges) -> Tensor:
    """Vary the color temperature over the image, like mixed light sources."""
    count, draws = len(batch.images), batch.draws
    overall = batch.uniform(-1, 1)
    local = draws.normal(count, 1, 5, 6) * batch.uniform(0, 1)
    warmth = ranges.temperature * batch.amount * (overall + local).clamp_(-2, 2)
    axis = torch.tensor([-1.0, 0.0, 0.8], device=warmth.device).reshape(1, 3, 1, 1)
    tint = 0.1 * batch.amount * batch.uniform(-1, 1, 3)
    gain = spline(torch.exp(warmth * axis + tint), batch.size)
    return batch.images.mul_(gain)


def lamps(batch: Batch, ranges: LightRanges) -> Tensor:
    """Dim the scene and light it by lamps with a visible glow."""
    images, amount = batch.images, batch.amount
    x, y = batch.pixels()
    height, width = batch.size
    gain = 1 - amount * (1 - ranges.ambient) * batch.uniform(0.4, 1)
    gain = gain.expand(-1, 3, *batch.size).clone()
    glow = torch.zeros_like(gain)
    warm = torch.tensor([0.45, 0.8, 1.0], device=images.device).reshape(1, 3, 1, 1)
    for lamp in range(LAMPS):
        center_x, center_y = batch.uniform(-0.1, 1.1), batch.uniform(-0.1, 0.9)
        away = ((x - center_x * width) ** 2 + (y - center_y * height) ** 2) / height**2
        reach = torch.exp(batch.uniform(math.log(0.08), math.log(0.5)))
        on = amount if lamp == 0 else amount * (batch.uniform(0, 1) < 0.6)
        color = on * warm ** batch.uniform(-0.3, 1.2)
        falloff = (1 + away / reach**2).reciprocal_().square_()
        gain.addcmul_(falloff, color * batch.uniform(0.5, 1.6))
        core = (reach * batch.uniform(0.03, 0.15)) ** 2
        glow.addcmul_(
            (1 + away / core).reciprocal_().square_(), color * batch.uniform(0, 1.5)
        )
    return images.mul_(gain).add_(glow)
