"""Effects of image processing: color, tone curve, compression."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from training.light.draws import Batch, spline
from training.light.ranges import LightRanges

LEVELS = 1024  # of a tone curve
QUANTILES = 33
STRIDE = 6  # subsampling for image statistics, pixels

# Orthonormal opponent axes of BGR: luminance, red-green, yellow-blue.
OPPONENT = (
    (3**-0.5, 3**-0.5, 3**-0.5),
    (0.0, -(2**-0.5), 2**-0.5),
    (-2 * 6**-0.5, 6**-0.5, 6**-0.5),
)

# Quantization tables of luma and chroma from ITU-T T.81, Annex K.
LUMA_STEPS = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMA_STEPS = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
)
# JFIF: luma, Cb and Cr of BGR.
YCC = (
    (0.114, 0.587, 0.299),
    (0.5, -0.331264, -0.168736),
    (-0.081312, -0.418688, 0.5),
)


def color_transfer(batch: Batch, ranges: LightRanges) -> Tensor:
    """Transfer another photo's mean and deviation along opponent axes."""
    images = batch.images
    axes = torch.tensor(OPPONENT, device=images.device)
    own, other = (
        axes @ views[..., ::STRIDE, ::STRIDE].flatten(2)
        for views in (images, batch.others)
    )
    scale = (other.std(dim=2) + 0.02) / (own.std(dim=2) + 0.02)
    matrix = axes.T @ (scale.clamp(0.4, 2.5)[:, :, None] * axes)
    own_mean, other_mean = (
        axes.T @ part.mean(dim=2, keepdim=True) for part in (own, other)
    )
    share = ranges.transfer * batch.amount[:, 0]
    mix = torch.lerp(torch.eye(3, device=images.device), matrix, share)
    moved = mix @ images.flatten(2) + share * (other_mean - matrix @ own_mean)
    return moved.unflatten(2, batch.size)


def tone_transfer(batch: Batch, ranges: LightRanges) -> Tensor:
    """Match each channel's histogram to another photo's, in part."""
    own, other = (_quantiles(views) for views in (batch.images, batch.others))
    levels = _levels(batch.images.device)
    upper = torch.searchsorted(own, levels.expand(*own.shape[:2], -1).contiguous())
    upper = upper.clamp_(1, own.shape[2] - 1)
    x0, x1 = own.gather(2, upper - 1), own.gather(2, upper)
    y0, y1 = other.gather(2, upper - 1), other.gather(2, upper)
    curve = y0 + (y1 - y0) * (levels - x0) / (x1 - x0)
    share = ranges.transfer * batch.amount[:, 0]
    return _bend(batch.images, torch.lerp(levels, curve, share))


def _quantiles(images: Tensor) -> Tensor:
    """Return (N, 3, QUANTILES) strictly increasing quantiles from 0 to 1."""
    sample = images[..., ::STRIDE, ::STRIDE].flatten(2).sort(dim=2).values
    even = torch.linspace(0, 1, QUANTILES, device=images.device)
    values = sample[..., (even * (sample.shape[2] - 1)).long()]
    values[..., 0], values[..., -1] = 0, 1
    # Blending with an even histogram bounds the slope of the curve between the two.
    return torch.lerp(values, even, 0.15).contiguous()


def tone(batch: Batch, ranges: LightRanges) -> Tensor:
    """Apply a random monotone tone curve, S-shaped or its inverse, with clipping."""
    count, device, amount = len(batch.images), batch.images.device, batch.amount
    levels = _levels(device)
    one_for_all = batch.draws.normal(count, 1, 1, 8)
    each = batch.draws.normal(count, 3, 1, 8)
    bend = spline(ranges.tone_bend * (one_for_all + 0.25 * each), (1, LEVELS))
    contrast = -batch.uniform(-1, 1.5) * torch.cos(2 * math.pi * levels)
    slope = torch.exp((bend + contrast) * amount)[:, :, 0]
    curve = torch.cumsum(slope, dim=2) - slope
    curve = curve / curve[..., -1:]
    black = ranges.clip * (amount * batch.uniform(-0.7, 1))[:, 0]
    white = 1 - ranges.clip * (amount * batch.uniform(-0.7, 1))[:, 0]
    # A negative clip fades that end instead of clipping it.
    return _bend(batch.images, ((curve - black) / (white - black)).clamp_(0, 1))


def _levels(device: torch.device) -> Tensor:
    return torch.linspace(0, 1, LEVELS, device=device)


def _bend(images: Tensor, curve: Tensor) -> Tensor:
    """Apply (N, 3, LEVELS) curves in place; the identity is exact."""
    change = curve - _levels(images.device)
    index = (images * (LEVELS - 1)).round_().long()
    return images.add_(change.gather(2, index.flatten(2)).view_as(images))


def jpeg(batch: Batch, ranges: LightRanges) -> Tensor:
    """Quantize 8x8 blocks like JPEG, with chroma at half resolution.

    The block grid has a random offset: a network with 8x8 cells must not learn it.
    Steps below one level are kept, so quality 100 changes nothing.
    """
    height, width = batch.size
    quality = 100 - (100 - ranges.quality) * batch.amount[:, :, 0, 0]
    scale = torch.where(quality < 50, 50 / quality, 2 - quality / 50)
    top, left = batch.draws.uniform(0, 16, 2).long().tolist()
    bottom, right = -(height + top) % 16, -(width + left) % 16
    axes = torch.tensor(YCC, device=scale.device)
    padded = F.pad(batch.images, (left, right, top, bottom), mode="replicate")
    planes = (axes @ (255 * padded.flatten(2))).unflatten(2, padded.shape[-2:])
    gray = _quantize(planes[:, :1] - 128, LUMA_STEPS, scale) + 128
    chroma = _enlarge(_quantize(_halve(planes[:, 1:]), CHROMA_STEPS, scale))
    # Without quantization, chroma keeps its full resolution as well.
    chroma = torch.lerp(planes[:, 1:], chroma, (4 * batch.amount).clamp(max=1))
    planes = torch.cat((gray, chroma), dim=1)
    images = torch.linalg.inv(axes) @ (planes.flatten(2) / 255)
    images = images.unflatten(2, padded.shape[-2:])
    return images[..., top : top + height, left : left + width]


def _quantize(planes: Tensor, steps: tuple, scale: Tensor) -> Tensor:
    """Round the DCT coefficients of 8x8 blocks of (N, C, H, W) planes."""
    steps = torch.tensor(steps, device=planes.device) * scale[:, :, None]
    steps = steps.clamp(max=255, min=1e-3)[:, None, None, :, None, :]
    dct = _dct(planes.device)
    blocks = _transform(planes, dct).unflatten(3, (-1, 8)).unflatten(2, (-1, 8))
    blocks = (blocks * (1 / steps)).round_().mul_(steps)
    return _transform(blocks.view(planes.shape), dct.T)


def _transform(planes: Tensor, matrix: Tensor) -> Tensor:
    """Multiply the columns and the rows of each 8x8 block by an 8x8 matrix."""
    columns = (matrix @ planes.unflatten(2, (-1, 8))).view(planes.shape)
    return (columns.unflatten(3, (-1, 8)) @ matrix.T).view(planes.shape)


def _halve(planes: Tensor) -> Tensor:
    """Average each block of 2x2 pixels."""
    rows = planes[..., ::2, :] + planes[..., 1::2, :]
    return (rows[..., ::2] + rows[..., 1::2]).mul_(0.25)


def _enlarge(planes: Tensor) -> Tensor:
    """Double both sides, bilinearly between pixel centers."""
    for dim in (2, 3):
        last = planes.shape[dim] - 1
        before = torch.cat((planes.narrow(dim, 0, 1), planes.narrow(dim, 0, last)), dim)
        after = torch.cat(
            (planes.narrow(dim, 1, last), planes.narrow(dim, last, 1)), dim
        )
        pair = (before.lerp_(planes, 0.75), after.lerp_(planes, 0.75))
        planes = torch.stack(pair, dim + 1).flatten(dim, dim + 1)
    return planes


def _dct(device: torch.device) -> Tensor:
    """Return the orthonormal 8x8 DCT-II, one frequency per row."""
    place = torch.arange(8, device=device) + 0.5
    frequency = torch.arange(8, device=device)[:, None]
    rows = torch.cos(math.pi / 8 * frequency * place) / 2
    return torch.where(frequency == 0, 8**-0.5, rows)
