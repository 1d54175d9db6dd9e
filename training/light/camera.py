"""Effects of lens and sensor: glare, vignette, motion, night, low resolution."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from training.light.draws import TINY, Batch, luma, smoothstep
from training.light.ranges import LightRanges


def glare(batch: Batch, ranges: LightRanges) -> Tensor:
    """Add bloom around bright areas and flare from a light source."""
    images, amount = batch.images, batch.amount
    x, y = batch.pixels()
    height, width = batch.size
    threshold = batch.uniform(0.5, 0.85)
    bright = ((luma(images) - threshold) / (1 - threshold)).clamp_(min=0)
    sigma = batch.uniform(0.01, 0.08) * width
    bloom = 2 * _gaussian(bright, sigma) * batch.uniform(0.2, 1)
    center_x, center_y = batch.uniform(-0.2, 1.2), batch.uniform(-0.3, 0.7)
    away = ((x - center_x * width) ** 2 + (y - center_y * height) ** 2) / height**2
    reach = batch.uniform(0.1, 0.6)
    source = (batch.uniform(0, 1) < 0.6) * batch.uniform(0.3, 1.2)
    flare = source / (1 + away / reach**2) ** 1.5
    color = torch.exp(batch.uniform(-0.25, 0.1, 3))
    light = (bloom + flare).clamp_(max=1.5) * (amount * color)
    # Screen blending: the light fills the headroom to white.
    return images.add_((1 - images) * light.clamp_(max=1))


def _gaussian(values: Tensor, sigma: Tensor) -> Tensor:
    """Blur (N, 1, H, W) by Gaussians of (N, 1, 1, 1) sigma, in pixels.

    Light that leaves the image is lost, so weights are symmetric up to the border.
    """
    blurred = values
    for axis in (-1, -2):
        place = torch.arange(values.shape[axis], device=values.device).float()
        weights = torch.exp(-0.5 * ((place - place[:, None]) / sigma) ** 2)
        weights = F.threshold(weights, TINY, 0.0)
        weights = weights / weights.sum(dim=-1, keepdim=True).amax(dim=-2, keepdim=True)
        blurred = weights @ blurred if axis == -2 else blurred @ weights
    return blurred


def vignette(batch: Batch, ranges: LightRanges) -> Tensor:
    """Darken the corners around an optical center near the image center."""
    x, y = batch.pixels()
    height, width = batch.size
    center_x, center_y = batch.uniform(0.4, 0.6), batch.uniform(0.4, 0.6)
    away = (x - center_x * width) ** 2 + (y - center_y * height) ** 2
    away = away * (4 / (height**2 + width**2))
    return batch.images.mul_((1 + ranges.falloff * batch.amount * away) ** -2)


def motion(batch: Batch, ranges: LightRanges) -> Tensor:
    """Blur along a line, or along a line per row under a rolling shutter.

    Kernels are symmetric, and light is split between them before it is spread, so the
    centroid of every spot is preserved.
    """
    _, y = batch.pixels()
    rolling = (batch.uniform(0, 1) < 0.5).float()
    share = rolling * ((y + 0.5) / batch.size[0])
    length = ranges.motion_length * batch.amount
    reach = 2 * math.ceil(ranges.motion_length / 2) + 1
    blurred = torch.zeros_like(batch.images)
    for part in (1 - share, share):
        angle = batch.uniform(0, math.pi)[:, 0]
        kernel = _line(length[:, 0] * batch.uniform(0.1, 1)[:, 0], angle, reach)
        blurred += _convolve(batch.images * part, kernel)
    return blurred


def _line(length: Tensor, angle: Tensor, size: int) -> Tensor:
    """Return (N, size, size) kernels of lines through the center, sum 1."""
    offsets = torch.arange(size, device=length.device) - size // 2
    x, y = offsets.float()[None, None, :], offsets.float()[None, :, None]
    along = (x * torch.cos(angle) + y * torch.sin(angle)).abs()
    across = (y * torch.cos(angle) - x * torch.sin(angle)).abs()
    beyond = (along - length / 2).clamp(min=0)
    kernel = (1 - torch.sqrt(beyond**2 + across**2)).clamp(min=0)
    return kernel / kernel.sum(dim=(1, 2), keepdim=True)


def _convolve(images: Tensor, kernel: Tensor) -> Tensor:
    """Filter (N, 3, H, W) by one (K, K) kernel each, with mirrored borders."""
    count, channels = images.shape[:2]
    margin = kernel.shape[-1] // 2
    padded = F.pad(images, (margin,) * 4, mode="reflect").flatten(0, 1)[None]
    weight = kernel.repeat_interleave(channels, dim=0)[:, None]
    filtered = F.conv2d(padded, weight, groups=count * channels)[0]
    return filtered.unflatten(0, (count, channels))


def night(batch: Batch, ranges: LightRanges) -> Tensor:
    """Darken by a gamma, remove color and sky, add noise and amplify."""
    images, amount = batch.images, batch.amount
    gray = luma(images)
    sky = smoothstep((gray - 0.5) * 4) * _above(batch)
    images = images.lerp_(gray, amount * batch.uniform(0.2, 0.9))
    images = images.mul_(1 - 0.9 * sky * amount)
    gamma = 1 + (ranges.gamma - 1) * amount * batch.uniform(0.3, 1)
    # Tint from the blue of dusk to the orange of sodium lamps.
    axis = torch.tensor([-0.7, 0.0, 0.3], device=gray.device).reshape(1, 3, 1, 1)
    images = images.pow_(gamma).mul_(torch.exp(amount * batch.uniform(-1, 1) * axis))
    # Auto exposure: the darker the image, the higher the gain.
    wanted = torch.exp(batch.uniform(math.log(0.04), math.log(0.25)))
    metered = wanted / images.mean(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)
    gain = 1 + (metered.clamp(1, ranges.camera_gain) - 1) * amount
    variance = ranges.read_noise**2 + ranges.shot_noise * images
    noise = batch.draws.normal(*images.shape).mul_(variance.sqrt_()).mul_(amount)
    return images.add_(noise).mul_(gain)


def _above(batch: Batch) -> Tensor:
    """Draw (N, 1, H, W) sky masks, up to 1 above a horizon, 0 for most images."""
    _, y = batch.pixels()
    horizon = batch.uniform(0.2, 0.8) * batch.size[0]
    fade = 0.25 * batch.size[0]
    there = (batch.uniform(0, 1) < 0.4) * batch.uniform(0.4, 1)
    return smoothstep((horizon - y) / fade + 0.5) * there


def resolution(batch: Batch, ranges: LightRanges) -> Tensor:
    """Shrink each image and enlarge it again.

    The triangle filter of antialiased bilinear shrinking preserves centroids.
    """
    factors = 1 + (ranges.downscale - 1) * batch.amount.flatten()
    for image, factor in zip(batch.images, factors.tolist(), strict=True):
        small = [max(2, round(side / factor)) for side in batch.size]
        shrunk = F.interpolate(image[None], small, mode="bilinear", antialias=True)
        image.copy_(F.interpolate(shrunk, batch.size, mode="bilinear")[0])
    return batch.images
