"""Random changes of light, color, sharpness and noise, batched on any device."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

# ITU-R BT.601 luma of blue, green and red: what cv2.cvtColor calls grey.
LUMA_BGR = (0.114, 0.587, 0.299)
KERNEL_SIZE = 9  # pixels a blur kernel is wide


@dataclass(frozen=True)
class PhotometricRanges:
    """How far an image may change; values of pixels are in [0, 1]."""

    contrast: tuple[float, float] = (0.5, 1.5)
    brightness: float = 0.18  # added, either sign
    log_gamma: float = 0.35  # either sign
    color_gain: float = 0.15  # per channel, relative, either sign
    shading: float = 0.35  # relative, from one side of the image to the other
    grey: float = 0.3  # probability
    blur: float = 0.35  # probability
    blur_sigma: tuple[float, float] = (0.4, 1.6)  # pixels across the motion
    motion_sigma: float = 2.5  # pixels along the motion, at most
    noise: float = 0.047  # standard deviation, at most: 12 of 255


def augment(
    images: Tensor, ranges: PhotometricRanges, generator: torch.Generator
) -> Tensor:
    """Each image changed on its own: blur, grey, light, camera, then sensor noise.

    Args:
        images: (B, 3, H, W) float32 BGR in [0, 1].
    """
    count, device = len(images), images.device

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        shape = shape or (1, 1, 1)
        draw = torch.rand(count, *shape, generator=generator, device=device)
        return low + (high - low) * draw

    images = _blur(images, ranges, uniform)
    luma = images.new_tensor(LUMA_BGR).reshape(1, 3, 1, 1)
    grey = (images * luma).sum(dim=1, keepdim=True).expand_as(images)
    images = torch.where(uniform(0, 1) < ranges.grey, grey, images)

    # The light on the scene and the white balance multiply what arrives ...
    balance = 1 + uniform(-ranges.color_gain, ranges.color_gain, 3, 1, 1)
    images = images * balance * _shading(images, ranges, uniform)
    # ... the camera stretches it around the middle, shifts it and bends it.
    images = (images - 0.5) * uniform(*ranges.contrast) + 0.5
    images = images + uniform(-ranges.brightness, ranges.brightness)
    exponent = torch.exp(uniform(-ranges.log_gamma, ranges.log_gamma))
    images = images.clamp(0, 1) ** exponent
    noise = torch.randn(images.shape, generator=generator, device=device)
    return (images + noise * uniform(0, ranges.noise)).clamp(0, 1)


def _shading(images: Tensor, ranges: PhotometricRanges, uniform) -> Tensor:  # type: ignore
    """(B, 1, H, W) gain that rises linearly along a random direction."""
    height, width = images.shape[-2:]
    x = torch.linspace(-0.5, 0.5, width, device=images.device)
    y = torch.linspace(-0.5, 0.5, height, device=images.device)[:, None]
    slope = uniform(-ranges.shading, ranges.shading, 2, 1, 1)
    return 1 + slope[:, :1] * x + slope[:, 1:] * y


def _blur(images: Tensor, ranges: PhotometricRanges, uniform) -> Tensor:  # type: ignore
    """Blur by a Gaussian drawn out in a random direction: defocus and motion."""
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
