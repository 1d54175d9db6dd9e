import torch

from training.homography import (
    WarpRanges,
    sample_crops,
    sample_homographies,
    warp_images,
)
from training.pairs import STRENGTHS, make_pairs
from training.photometric import LUMA_BGR, PhotometricRanges, augment

OFF = PhotometricRanges(
    contrast=(1, 1),
    brightness=0,
    log_gamma=0,
    color_gain=0,
    shading=0,
    gray=0,
    blur=0,
    noise=0,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def smooth_photos(count=4):
    """Make photos without detail finer than ten pixels, so that resampling is exact."""
    coarse = torch.rand(count, 3, 18, 24, generator=generator())
    fine = torch.nn.functional.interpolate(coarse, (180, 240), mode="bicubic")
    return (fine.clamp(0, 1) * 255).byte()


def test_the_homography_maps_view_0_to_view_1():
    pairs = make_pairs(smooth_photos(), (96, 128), generator(1), photometric=OFF)
    # View 0 seen from view 1: its inverse homography leads from view 1 back to view 0.
    back = torch.linalg.inv(pairs.homography)
    moved = warp_images(pairs.images0, back, (96, 128))
    seen = warp_images(torch.ones(4, 1, 96, 128), back, (96, 128))
    inside = _inside(pairs.homography, (96, 128)) & (seen > 0.99)[:, 0]
    assert inside.float().mean() > 0.3
    error = (moved - pairs.images1).abs().mean(dim=1)[inside]
    assert error.mean() < 0.01
    shifted = (moved - pairs.images1.roll(6, dims=3)).abs().mean(dim=1)[inside]
    assert shifted.mean() > 5 * error.mean()


def _inside(homography, size):
    """Return (B, H, W) bool, pixels of view 1 at least two pixels inside view 0."""
    height, width = size
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack((x, y, torch.ones_like(x)), dim=-1).reshape(-1, 3).float()
    back = pixels @ torch.linalg.inv(homography).transpose(1, 2)
    point = back[..., :2] / back[..., 2:]
    limits = torch.tensor([width - 3, height - 3])
    return ((point > 2) & (point < limits)).all(dim=2).reshape(-1, height, width)


def test_the_generator_fixes_the_batch():
    photos = smooth_photos()
    first, again = (make_pairs(photos, (48, 64), generator(5)) for _ in range(2))
    other = make_pairs(photos, (48, 64), generator(6))
    for a, b, c in zip(first, again, other, strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)


def test_view_1_moves_more_than_view_0():
    crop = sample_crops(200, (48, 64), (180, 240), generator())
    angle0, angle1 = (
        torch.atan2(to_photo[:, 1, 0], to_photo[:, 0, 0]).std()
        for to_photo in (
            sample_homographies(crop, (48, 64), WarpRanges(), strength, generator())
            for strength in STRENGTHS
        )
    )
    assert angle1 > 2 * angle0


def test_views_are_changed_independently():
    photos = torch.full((64, 3, 60, 80), 128, dtype=torch.uint8)
    pairs = make_pairs(photos, (48, 64), generator())
    brightness0, brightness1 = (
        images.mean(dim=(1, 2, 3)) for images in (pairs.images0, pairs.images1)
    )
    together = torch.corrcoef(torch.stack((brightness0, brightness1)))[0, 1]
    assert abs(together) < 0.4
    assert brightness0.std() > 0.02


def test_zero_ranges_change_nothing():
    images = torch.rand(3, 3, 20, 30, generator=generator()).clamp(1e-3, 1)
    torch.testing.assert_close(augment(images, OFF, generator()), images)


def test_augmented_images_stay_in_range_and_differ_from_each_other():
    images = torch.rand(1, 3, 20, 30, generator=generator()).expand(8, -1, -1, -1)
    changed = augment(images, PhotometricRanges(), generator())
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert len({round(float(image.mean()), 6) for image in changed}) == 8


def test_blur_keeps_the_mean_and_lowers_the_contrast():
    images = torch.rand(16, 3, 40, 40, generator=generator())
    ranges = PhotometricRanges(**(vars(OFF) | {"blur": 1, "blur_sigma": (1, 1)}))
    blurred = augment(images, ranges, generator())
    torch.testing.assert_close(blurred.mean(), images.mean(), rtol=0, atol=5e-3)
    assert (blurred.std(dim=(2, 3)) < 0.6 * images.std(dim=(2, 3))).all()


def test_gray_is_the_luma_of_bgr():
    blue = torch.zeros(1, 3, 16, 16)
    blue[:, 0] = 1
    ranges = PhotometricRanges(**(vars(OFF) | {"gray": 1}))
    gray = augment(blue, ranges, generator())
    torch.testing.assert_close(gray, torch.full_like(gray, LUMA_BGR[0]))


def only(**ranges):
    return PhotometricRanges(**(vars(OFF) | ranges))


def test_shading_falls_off_across_the_image():
    flat = torch.full((50, 3, 16, 24), 0.2)
    shaded = augment(flat, only(shading=0.4), generator())
    across = shaded[:, 0, :, -1].mean(dim=1) - shaded[:, 0, :, 0].mean(dim=1)
    down = shaded[:, 0, -1].mean(dim=1) - shaded[:, 0, 0].mean(dim=1)
    for slope in (across, down):
        # Gain from 1 - 0.2 to 1 + 0.2 at most, of a brightness of 0.2.
        assert 0.06 < slope.abs().max() <= 0.2 * 0.4 + 1e-6
    assert abs(torch.corrcoef(torch.stack((across, down)))[0, 1]) < 0.5
    torch.testing.assert_close(shaded.mean(dim=(2, 3)), flat.mean(dim=(2, 3)))


def test_color_gain_is_white_balance():
    flat = torch.full((50, 3, 16, 16), 0.5)
    colored = augment(flat, only(color_gain=0.2), generator()).mean(dim=(2, 3))
    assert (colored.amax(dim=1) > colored.amin(dim=1)).all()
    assert colored.min() >= 0.4
    assert colored.max() <= 0.6


def test_gamma_keeps_black_and_white():
    ramp = torch.linspace(0, 1, 16).expand(20, 3, 16, 16)
    bent = augment(ramp, only(log_gamma=0.5), generator())
    torch.testing.assert_close(bent[..., [0, -1]], ramp[..., [0, -1]])
    assert (bent.diff(dim=-1) > 0).all()
    assert bent[:, 0, 0, 8].std() > 0.05


def test_contrast_pivots_around_mid_gray():
    halves = torch.cat(
        (torch.full((20, 3, 8, 16), 0.3), torch.full((20, 3, 8, 16), 0.7)), 2
    )
    changed = augment(halves, only(contrast=(0.5, 1.5)), generator())
    torch.testing.assert_close(changed.mean(dim=2), torch.full((20, 3, 16), 0.5))
    spread = changed[:, 0, -1, 0] - changed[:, 0, 0, 0]
    assert 0.2 <= spread.min() < 0.3 < 0.5 < spread.max() <= 0.6


def test_motion_blurs_along_one_direction():
    dot = torch.zeros(30, 3, 21, 21)
    dot[:, :, 10, 10] = 1
    blurred = augment(dot, only(blur=1, blur_sigma=(0.5, 0.5)), generator())
    y, x = torch.meshgrid(
        torch.arange(21.0) - 10, torch.arange(21.0) - 10, indexing="ij"
    )
    moments = torch.stack(
        [(blurred[:, 0] * w).sum(dim=(1, 2)) for w in (x * x, x * y, x * y, y * y)],
        dim=-1,
    ).reshape(-1, 2, 2)
    across, along = torch.linalg.eigvalsh(moments).sqrt().unbind(-1)
    assert across.max() < 0.7
    assert along.max() > 1.5


def test_noise_has_the_given_strength():
    flat = torch.full((200, 3, 16, 16), 0.5)
    ranges = PhotometricRanges(**(vars(OFF) | {"noise": 0.05}))
    spread = augment(flat, ranges, generator()).std(dim=(1, 2, 3))
    assert spread.max() < 0.055
    assert 0.02 < spread.mean() < 0.03
