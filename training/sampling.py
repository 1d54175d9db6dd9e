"""Sample dense maps at sub-pixel points."""

from torch import Tensor
from torch.nn import functional as F


def sample_map(dense: Tensor, points: Tensor, stride: int) -> Tensor:
    """Sample a map at sub-pixel points, bilinearly; its border is repeated.

    Args:
        dense: (B, C, H/s, W/s).
        points: (B, N, 2) x and y in pixels of the image.
        stride: s, pixels between neighboring entries of the map.

    Returns:
        (B, N, C) float32.
    """
    size = points.new_tensor(dense.shape[:-3:-1]) * stride
    grid = (2 * points + 1) / size - 1
    sampled = F.grid_sample(
        dense.float(), grid[:, :, None], padding_mode="border", align_corners=False
    )
    return sampled[..., 0].transpose(1, 2)


def sample_descriptors(descriptor_map: Tensor, points: Tensor, stride: int) -> Tensor:
    """Return (B, N, D) unit descriptors at points; arguments as for `sample_map`."""
    return F.normalize(sample_map(descriptor_map, points, stride), dim=-1)
