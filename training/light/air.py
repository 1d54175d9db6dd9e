"""Effects between scene and camera: fog, rain, occluders."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from training.light.draws import TINY, Batch, smoothstep
from training.light.ranges import LightRanges

STREAK = 21  # width of the kernel of a rain streak, pixels
OCCLUDERS = 3


def fog(batch: Batch, ranges: LightRanges) -> Tensor:
    """Veil the images with fog of varying density."""
    images = batch.images
    x, y = batch.pixels()
    height, width = batch.size
    # Distant objects are mostly higher in the image, and fog hides them first.
    slope_x, slope_y = batch.uniform(-0.5, 0.5), batch.uniform(-1.2, 0.4)
    density = batch.uniform(0.3, 1) + slope_x * (x / width - 0.5)
    density = density + slope_y * (y / height - 0.5)
    density = density.add_(batch.field(3), alpha=0.1).clamp_(0, 1)
    gray = batch.uniform(0.45, 0.95) + batch.uniform(-0.04, 0.04, 3)
    veil = density * (ranges.fog_density * batch.amount)
    return images.lerp_(gray.expand_as(images), veil)


def rain(batch: Batch, ranges: LightRanges) -> Tensor:
    """Draw streaks of rain or flakes of snow over a slightly grayed view."""
    images, amount = batch.images, batch.amount
    count = len(images)
    angle = batch.draws.normal(count, 1, 1) * 0.25
    length = torch.exp(batch.draws.uniform(math.log(1.5), math.log(9.0), count, 1, 1))
    width = batch.draws.uniform(0.5, 1.1, count, 1, 1)
    offsets = torch.arange(STREAK, device=images.device) - STREAK // 2
    x, y = offsets.float()[None, None, :], offsets.float()[None, :, None]
    along = x * torch.sin(angle) + y * torch.cos(angle)
    across = x * torch.cos(angle) - y * torch.sin(angle)
    kernel = torch.exp(
        -0.5 * ((across / width) ** 2 + (along / torch.maximum(length, width)) ** 2)
    )
    kernel = F.threshold(kernel, TINY, 0.0)
    drops = batch.draws.uniform(0, 1, count, 1, *batch.size)
    share = torch.exp(batch.uniform(math.log(1e-3), math.log(1e-2)))
    seeds = (drops < share).float() * (drops / share)  # of random brightness
    # Padded beforehand: a grouped convolution with padding is 15 times slower.
    seeds = F.pad(seeds, (STREAK // 2,) * 4).transpose(0, 1)
    streaks = F.conv2d(seeds, kernel[:, None], groups=count).transpose(0, 1)
    streaks = streaks.clamp_(max=1)
    gray = batch.uniform(0.55, 0.95)
    images = images.lerp_(0.7 * gray.expand_as(images), 0.25 * amount)
    return images.lerp_(gray.expand_as(images), streaks * ranges.rain_opacity * amount)


def occluders(batch: Batch, ranges: LightRanges) -> tuple[Tensor, Tensor]:
    """Paste blobs of the other photos over the images.

    Returns:
        (N, 3, H, W) images, and (N, H, W) bool, True where an image is covered.
    """
    x, y = batch.pixels()
    height, width = batch.size
    inside = torch.full_like(batch.images[:, :1], -math.inf)
    for _ in range(OCCLUDERS):
        dx = x - batch.uniform(0, 1) * width
        dy = y - batch.uniform(0, 1) * height
        angle = batch.uniform(0, math.pi)
        u = dx * torch.cos(angle) + dy * torch.sin(angle)
        v = dy * torch.cos(angle) - dx * torch.sin(angle)
        stretch = torch.exp(batch.uniform(0, 1.2))
        away = torch.sqrt((u / stretch) ** 2 + (v * stretch) ** 2)
        radius = min(height, width) * ranges.occluder_radius * batch.uniform(0.2, 1)
        # No blob at an amount of 0.
        radius = torch.where(batch.amount > 0, radius * batch.amount, -math.inf)
        inside = torch.maximum(inside, radius - away)
    wobble = batch.field(14).mul_(batch.uniform(0, 1) * 0.04 * height * batch.amount)
    cover = smoothstep((inside + wobble) / 1.5)
    light = batch.uniform(0.5, 1.2) * torch.exp(0.15 * batch.uniform(-1, 1, 3))
    return batch.images.lerp_((batch.others * light).clamp_(0, 1), cover), (
        cover[:, 0] > 0
    )
