"""Randomly change light, color, sharpness and noise, batched on any device."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

# ITU-R BT.601 luma of blue, green and red: as in cv2.COLOR_BGR2GRAY.
LUMA_BGR = (0.114, 0.587, 0.299)
KERNEL_SIZE = 9  # width of a blur kernel, pixels


@dataclass(frozen=True)
class PhotometricRanges:
    """Ranges of photometric change; pixel values are in [0, 1]."""

    contrast: tuple[float, float] = (0.5, 1.5)
    brightness: float = 0.18  # maximum offset
    log_gamma: float = 0.35  # maximum of its absolute value
    color_gain: float = 0.15  # maximum relative gain per channel
    shading: float = 0.35  # maximum relative gain across the image
    gray: float = 0.3  # probability
    blur: float = 0.35  # probability
    blur_sigma: tuple[float, float] = (0.4, 1.6)  # pixels across the motion
    motion_sigma: float = 2.5  # maximum along the motion, pixels
    noise: float = 0.047  # maximum standard deviation: 12 of 255


def augment(
    images: Tensor, ranges: PhotometricRanges, generator: torch.Generator
) -> Tensor:
    """Change each image independently: blur, gray, light, camera, sensor noise.

    Args:
        images: (B, 3, H, W) float32 BGR in [0, 1].
        ranges: of the changes.
        generator: on the device of `images`; fixes the result.
    """
    count, device = len(images), images.device

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        shape = shape or (1, 1, 1)
        draw = torch.rand(count, *shape, generator=generator, device=device)
        return low + (high - low) * draw

    images = _blur(images, ranges, uniform)
    luma = images.new_tensor(LUMA_BGR).reshape(1, 3, 1, 1)
    gray = (images * luma).sum(dim=1, keepdim=True).expand_as(images)
    images = torch.where(uniform(0, 1) < ranges.gray, gray, images)

    # Scene light and white balance are gains ...
    balance = 1 + uniform(-ranges.color_gain, ranges.color_gain, 3, 1, 1)
    images = images * balance * _shading(images, ranges, uniform)
    # ... then the camera applies contrast, brightness and gamma.
    images = (images - 0.5) * uniform(*ranges.contrast) + 0.5
    images = images + uniform(-ranges.brightness, ranges.brightness)
    exponent = torch.exp(uniform(-ranges.log_gamma, ranges.log_gamma))
    images = images.clamp(0, 1) ** exponent
    noise = torch.randn(images.shape, generator=generator, device=device)
    return (images + noise * uniform(0, ranges.noise)).clamp(0, 1)


def _shading(images: Tensor, ranges: PhotometricRanges, uniform) -> Tensor:  # type: ignore
    """Return a (B, 1, H, W) gain that rises linearly along a random direction."""
    height, width = images.shape[-2:]
    x = torch.linspace(-0.5, 0.5, width, device=images.device)
    y = torch.linspace(-0.5, 0.5, height, device=images.device)[:, None]
    slope = uniform(-ranges.shading, ranges.shading, 2, 1, 1)
    return 1 + slope[:, :1] * x + slope[:, 1:] * y


def _blur(images: Tensor, ranges: PhotometricRanges, uniform) -> Tensor:  # type: ignore
    """Blur by a Gaussian stretched in a random direction: defocus and motion."""
    count, channels = images.shape[:2]
    across = uniform(*ranges.blur_sigma, 1, 1)
    along = torch.maximum(across, uniform(0, ranges.motion_sigma, 1, 1))
    angle = uniform(0, math.pi, 1, 1)
    offsets = torch.arange(KERNEL_SIZE, device=images.device) - KERNEL_SIZE // 2
    x, y = offsets.float()[None, None, :], offsets.float()[None, :, None]
    u = x * torch.cos(angle) + y * torch.sin(angle)
    v = y * torch.cos(angle) - x * torch.sin(angle)
    kernel = torch.exp(-0.5 * ((u / along) ** 2 + (v / across) ** 2))
    sharp = ((x == 0) & (y == 0)).float()
    kernel = torch.where(uniform(0, 1, 1, 1) < ranges.blur, kernel, sharp)
    kernel = kernel / kernel.sum(dim=(1, 2), keepdim=True)
    weight = kernel.repeat_interleave(channels, dim=0)[:, None]
    margin = KERNEL_SIZE // 2
    padded = F.pad(images, (margin,) * 4, mode="reflect").flatten(0, 1)[None]
    return F.conv2d(padded, weight, groups=count * channels)[0].unflatten(
        0, (count, channels)
    )
