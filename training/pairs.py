"""Make siamese pairs: two views of one photo under a known homography."""

from typing import NamedTuple

import torch
from torch import Tensor

from training.homography import (
    Size,
    WarpRanges,
    sample_crops,
    sample_homographies,
    warp_images,
)
from training.photometric import PhotometricRanges, augment

# View 0 moves less than view 1, so that upright views remain the common case.
STRENGTHS = (0.35, 1.0)


class Pairs(NamedTuple):
    """B pairs of views.

    images0, images1: (B, 3, H, W) float32 BGR in [0, 1].
    homography: (B, 3, 3), maps pixels of view 0 to pixels of view 1.
    """

    images0: Tensor
    images1: Tensor
    homography: Tensor


def make_views(
    photos: Tensor, size: Size, generator: torch.Generator, warp: WarpRanges
) -> Pairs:
    """Make two random views of each photo in the photo's own light.

    Args:
        photos: (B, 3, H, W) uint8 BGR, on the device where the work is done.
        size: (height, width) of the views.
        generator: on the same device; fixes the result.
        warp: range of the views' motion.
    """
    source = photos.float() / 255
    crop = sample_crops(
        len(photos), size, (source.shape[-2], source.shape[-1]), generator
    )
    to_photo = [
        sample_homographies(crop, size, warp, strength, generator)
        for strength in STRENGTHS
    ]
    images0, images1 = (warp_images(source, view, size) for view in to_photo)
    homography = torch.linalg.solve(to_photo[1].double(), to_photo[0].double())
    return Pairs(images0, images1, (homography / homography[:, 2:, 2:]).float())


def make_pairs(
    photos: Tensor,
    size: Size,
    generator: torch.Generator,
    warp: WarpRanges | None = None,
    photometric: PhotometricRanges | None = None,
) -> Pairs:
    """Make two random views of each photo, with independent light and noise.

    Arguments as for `make_views`, and the ranges of `augment`.
    """
    pairs = make_views(photos, size, generator, warp or WarpRanges())
    images0, images1 = (
        augment(images, photometric or PhotometricRanges(), generator)
        for images in (pairs.images0, pairs.images1)
    )
    return Pairs(images0, images1, pairs.homography)
