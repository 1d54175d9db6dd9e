import numpy as np
import pytest
import torch

from training import metrics
from training.homography import (
    WarpRanges,
    corner_points,
    from_corners,
    inside,
    sample_crops,
    sample_homographies,
    warp_images,
    warp_points,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_from_corners_recovers_the_homography():
    truth = torch.tensor([[1.1, 0.1, 5], [-0.2, 0.9, -3], [1e-3, -5e-4, 1]])[None]
    corners = corner_points((120, 160), torch.device("cpu"))[None]
    found = from_corners(
        corners.double(), warp_points(truth.double(), corners.double())
    )
    torch.testing.assert_close(found, truth.double(), rtol=1e-6, atol=1e-9)


def test_warped_points_agree_with_opencv():
    homography = torch.tensor([[1.1, 0.1, 5], [-0.2, 0.9, -3], [1e-3, -5e-4, 1]])
    points = torch.rand(20, 2, generator=generator()) * 100
    expected = metrics.warp_points(points.numpy(), homography.double().numpy())
    np.testing.assert_allclose(
        warp_points(homography[None], points[None])[0], expected, rtol=1e-4
    )


def test_inside_counts_the_outer_half_pixel():
    points = torch.tensor([[[-0.5, 0], [-0.51, 0], [9.49, 4.49], [9.5, 0], [0, 4.5]]])
    assert inside(points, (5, 10)).tolist() == [[True, False, True, False, False]]


def test_strength_zero_is_the_plain_crop():
    crop = torch.tensor([[50.0, 40.0, 1.5]])
    homography = sample_homographies(crop, (21, 31), WarpRanges(), 0.0, generator())
    # log_scale's range is not centered on zero, but zero strength removes it.
    points = warp_points(homography, torch.tensor([[[15.0, 10.0], [16.0, 10.0]]]))
    expected = torch.tensor([[[50.0, 40.0], [51.5, 40.0]]])
    torch.testing.assert_close(points, expected, rtol=0, atol=1e-3)


def test_each_range_moves_the_view_as_named():
    crop = torch.tensor([[50.0, 40.0, 1.0]]).expand(500, 3)
    still = {
        "log_scale": (0, 0),
        "rotation_std": 0,
        "corner_jitter": 0,
        "translation": 0,
    }

    def sample(**ranges):
        warp = WarpRanges(**(still | ranges))
        corners = corner_points((20, 30), torch.device("cpu")).expand(500, 4, 2)
        homography = sample_homographies(crop, (20, 30), warp, 1.0, generator())
        return warp_points(homography, corners)

    width = (sample(log_scale=(-0.5, 0.5))[:, 1] - sample(log_scale=(-0.5, 0.5))[:, 0])[
        :, 0
    ]
    assert width.min() == pytest.approx(30 * np.exp(-0.5), rel=0.02)
    assert width.max() == pytest.approx(30 * np.exp(0.5), rel=0.02)
    edge = sample(rotation_std=20)[:, 1] - sample(rotation_std=20)[:, 0]
    angle = torch.rad2deg(torch.atan2(edge[:, 1], edge[:, 0]))
    assert angle.std() == pytest.approx(20, rel=0.1)
    shift = sample(translation=0.1).mean(dim=1) - crop[:, :2]
    assert shift.abs().max(dim=0).values.tolist() == pytest.approx([3, 2], rel=0.05)


def test_corner_jitter_is_perspective():
    crop = torch.tensor([[50.0, 40.0, 1.0]]).expand(500, 3)
    ranges = WarpRanges((0, 0), 0, 0.1, 0)
    homography = sample_homographies(crop, (20, 30), ranges, 1.0, generator())
    corners = corner_points((20, 30), torch.device("cpu")).expand(500, 4, 2)
    moved = warp_points(homography, corners) - (corners - corners.mean(dim=1)[:, None])
    jitter = moved - crop[:, None, :2]
    assert jitter.abs().amax(dim=(0, 1)).tolist() == pytest.approx([3, 2], rel=0.05)
    together = torch.corrcoef(jitter[:, :, 0].T)  # corners move independently
    assert (together - torch.eye(4)).abs().max() < 0.2


def test_crops_lie_inside_the_photo():
    crops = sample_crops(1000, (192, 256), (360, 480), generator())
    half = crops[:, 2:] * torch.tensor([256.0, 192.0]) / 2
    assert (crops[:, :2] - half >= -0.5 - 1e-3).all()
    assert (crops[:, :2] + half <= torch.tensor([479.5, 359.5]) + 1e-3).all()
    assert crops[:, 2].min() < 1.05
    assert crops[:, 2].max() > 1.8


def test_the_identity_warp_returns_the_image():
    image = torch.rand(1, 3, 12, 16, generator=generator())
    torch.testing.assert_close(warp_images(image, torch.eye(3)[None], (12, 16)), image)


def test_a_shift_moves_pixels_by_whole_pixels():
    image = torch.rand(1, 1, 12, 16, generator=generator())
    shift = torch.eye(3)[None].clone()
    shift[0, :2, 2] = torch.tensor([3.0, 2.0])
    view = warp_images(image, shift, (6, 8))
    torch.testing.assert_close(view, image[:, :, 2:8, 3:11])


def test_beyond_the_border_the_photo_is_mirrored():
    image = torch.rand(1, 1, 8, 8, generator=generator())
    shift = torch.eye(3)[None].clone()
    shift[0, 0, 2] = -2.0
    view = warp_images(image, shift, (8, 2))
    torch.testing.assert_close(view, image[:, :, :, [1, 0]])


def shrinking(factor, size, photo_size):
    """Return a (1, 3, 3) view with `factor` photo pixels per pixel, centered."""
    height, width = photo_size
    x = (width - 1) / 2 - factor * (size[1] - 1) / 2
    y = (height - 1) / 2 - factor * (size[0] - 1) / 2
    return torch.tensor([[[factor, 0, x], [0, factor, y], [0, 0, 1.0]]])


@pytest.mark.parametrize("factor", [2.0, 3.0, 4.0])
def test_a_view_that_shrinks_its_photo_does_not_alias(factor):
    y, x = torch.meshgrid(torch.arange(96), torch.arange(128), indexing="ij")
    stripes = ((x + y) % 2).float()[None, None]
    view = warp_images(stripes, shrinking(factor, (12, 16), (96, 128)), (12, 16))
    torch.testing.assert_close(view, torch.full_like(view, 0.5))


@pytest.mark.parametrize("factor", [0.7, 1.0, 1.9, 2.5, 4.0])
def test_a_view_follows_its_homography_at_every_scale(factor):
    ramp = torch.arange(128.0).expand(1, 1, 96, 128)
    to_photo = shrinking(factor, (12, 16), (96, 128))
    view = warp_images(ramp, to_photo, (12, 16))
    expected = factor * torch.arange(16.0) + to_photo[0, 0, 2]
    torch.testing.assert_close(view[0, 0], expected.expand(12, 16))


def test_each_view_of_a_batch_has_its_own_scale():
    photos = torch.rand(2, 1, 96, 128)
    both = torch.cat([shrinking(f, (12, 16), (96, 128)) for f in (1.0, 4.0)])
    together = warp_images(photos, both, (12, 16))
    for index in (0, 1):
        one = slice(index, index + 1)
        alone = warp_images(photos[one], both[one], (12, 16))
        assert torch.equal(together[one], alone)
