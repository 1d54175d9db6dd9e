import math

import cv2
import numpy as np
import pytest
import torch

from training.light import EFFECTS, LightRanges, relight
from training.light.camera import _gaussian
from training.light.draws import Batch, Draws
from training.light.processing import OPPONENT, jpeg
from training.photometric import LUMA_BGR

NONE = dict.fromkeys(EFFECTS, 0.0)
SIZE = (96, 128)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def only(effect, **full):
    """Return ranges with this effect always on, at full amount, and no other."""
    return LightRanges(**(NONE | {effect: 1.0, "least": 1.0} | full))


def texture(count=8, seed=0, size=SIZE):
    """Make colored blobs about six pixels wide, from black to white."""
    height, width = size
    coarse = torch.rand(count, 3, height // 6, width // 6, generator=generator(seed))
    fine = torch.nn.functional.interpolate(coarse, size, mode="bicubic")
    return fine.clamp(0, 1)


def flat(value, count=16):
    return torch.full((count, 3, *SIZE), value)


def ramp(count=8):
    """Make values that rise from 0.1 by 1/200 per pixel to the right."""
    across = 0.1 + torch.arange(SIZE[1]) / 200
    return across.expand(count, 3, *SIZE).clone()


def change(effect, images, seed=0, others=None, **full):
    """Apply one effect at full strength."""
    if others is None:
        others = texture(len(images), seed=99, size=images.shape[-2:])
    return relight(images, others, generator(seed), 1.0, only(effect, **full)).images


def test_every_effect_has_a_probability():
    assert all(0 < getattr(LightRanges(), name) < 1 for name in EFFECTS)


@pytest.mark.parametrize("effect", EFFECTS)
def test_values_stay_finite_and_in_range(effect):
    for images in (texture(), flat(0.0, 4), flat(1.0, 4)):
        for others in (texture(len(images), 3), torch.zeros_like(images)):
            changed = change(effect, images, others=others)
            assert changed.shape == images.shape
            assert torch.isfinite(changed).all()
            assert changed.min() >= 0
            assert changed.max() <= 1


@pytest.mark.parametrize("effect", EFFECTS)
def test_an_effect_changes_images_and_a_tiny_amount_hardly_does(effect):
    # Foliage needs green.
    images = texture() * torch.tensor([0.2, 1.0, 0.7]).reshape(1, 3, 1, 1)
    assert (change(effect, images) - images).abs().mean() > 4e-3
    nothing = relight(images, texture(8, 1), generator(), 1e-6, only(effect)).images
    torch.testing.assert_close(nothing, images, rtol=0, atol=2e-3)


def test_zero_strength_changes_nothing():
    images = texture()
    relit = relight(images, texture(8, 1), generator(), 0.0)
    assert torch.equal(relit.images, images)
    assert not relit.covered.any()


def test_zero_probability_changes_nothing():
    images = texture()
    relit = relight(images, texture(8, 1), generator(), 1.0, LightRanges(**NONE))
    assert torch.equal(relit.images, images)
    assert not relit.covered.any()


def test_arguments_are_not_modified():
    images, others = texture(), texture(8, 1)
    relight(images, others, generator())
    assert torch.equal(images, texture())
    assert torch.equal(others, texture(8, 1))


def test_one_generator_state_gives_one_result():
    images, others = texture(), texture(8, 1)
    first, again = (relight(images, others, generator(5)) for _ in range(2))
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.covered, again.covered)
    assert not torch.equal(first.images, relight(images, others, generator(6)).images)


def test_images_do_not_depend_on_the_rest_of_their_batch():
    images, others = texture(), texture(8, 1)
    changed, occluding = images.clone(), others.clone()
    changed[1:] = 1 - changed[1:]
    occluding[1:] = 0.3
    first = relight(images, others, generator(), 1.0, LightRanges(least=1.0))
    second = relight(changed, occluding, generator(), 1.0, LightRanges(least=1.0))
    torch.testing.assert_close(first.images[0], second.images[0])
    assert torch.equal(first.covered[0], second.covered[0])


def test_strength_scales_the_change():
    images, others = texture(32), texture(32, 1)
    change = [
        float((relight(images, others, generator(), s).images - images).abs().mean())
        for s in (0.1, 0.3, 0.6, 1.0)
    ]
    assert change == sorted(change)
    assert change[-1] > 3 * change[0]


def test_odd_sizes_work():
    images = texture(8, size=(61, 83))
    relit = relight(images, images.flip(0), generator(), 1.0, only("jpeg"))
    assert relit.images.shape == images.shape
    assert relight(images, images.flip(0), generator(2)).images.shape == images.shape


LOCAL = ["foliage", "snow", "shadows", "lights", "lamps", "fog", "rain"]
LOCAL += ["vignette", "night"]
GLOBAL = ["color_transfer", "tone_transfer", "tone"]


@pytest.mark.parametrize("effect", LOCAL)
def test_pixelwise_effects_change_pixels_independently(effect):
    images = texture()
    images[:, :, 40, 57] = torch.tensor([0.3, 0.7, 0.4])
    other = images.clone()
    other[:, :, 40, 57] = torch.tensor([0.4, 0.8, 0.5])
    # Without auto exposure, which depends on the whole view.
    views = (change(effect, view, camera_gain=1.0) for view in (images, other))
    apart = torch.sub(*views).abs().sum(dim=(0, 1))
    assert torch.nonzero(apart).tolist() == [[40, 57]]


@pytest.mark.parametrize("effect", GLOBAL)
def test_equal_pixels_stay_equal(effect):
    edge = flat(0.3)
    edge[:, :, 20:50, 31:] = 0.6
    changed = change(effect, edge)
    first, second = changed[:, :, :1, :1], changed[:, :, 20:21, 31:32]
    assert ((first - second).abs().amax(dim=1) > 1e-3).any()
    torch.testing.assert_close(changed, torch.where(edge == 0.6, second, first))


def shift(before, after):
    """Return the (x, y) shift of an image in pixels, by phase correlation."""
    views = []
    for image in (before, after):
        gray = image.mean(dim=0).numpy()
        # Details only: edges of shadows and blurred light are not motion.
        detail = gray - cv2.GaussianBlur(gray, (0, 0), 4)
        views.append(detail / (np.abs(detail).mean() + 1e-6))
    window = cv2.createHanningWindow(views[0].shape[::-1], cv2.CV_32F)
    return cv2.phaseCorrelate(*views, window)[0]


def test_a_shift_is_detected():
    for image in texture():
        assert shift(image, image.roll(1, dims=2)) == pytest.approx((1, 0), abs=0.05)


@pytest.mark.parametrize("effect", EFFECTS)
def test_no_effect_moves_the_image(effect):
    images = texture(32, size=(192, 256))
    views = zip(images, change(effect, images), strict=True)
    assert np.abs(np.median([shift(*pair) for pair in views], axis=0)).max() < 0.05


def blobs():
    """Make (24, 1, H, W) blobs of deviation 3 at sub-pixel positions, on black."""
    y, x = torch.meshgrid(*(torch.arange(float(side)) for side in SIZE), indexing="ij")
    places = 44 + 8 * torch.rand(24, 2, 1, 1, generator=generator(3))
    away = (x - places[:, :1]) ** 2 + (y - places[:, 1:]) ** 2
    return torch.exp(-0.5 * away / 3**2)


def centroid(images):
    """Return the (N, 2) centroids of whatever is brighter than the corner."""
    light = images.double().mean(dim=1)
    light = light - light[:, :1, :1]
    total = light.sum(dim=(1, 2))
    x, y = (torch.arange(float(side)).double() for side in (SIZE[1], SIZE[0]))
    return torch.stack(
        ((light.sum(dim=1) @ x) / total, (light.sum(dim=2) @ y) / total), dim=1
    )


@pytest.mark.parametrize(
    # Coarser JPEG leaves ripples that outweigh the blob: an encoder tests it below.
    ("effect", "ground"),
    [("motion", 0.0), ("resolution", 0.0), ("jpeg", 0.2)],
)
def test_the_centroid_of_a_blob_is_preserved(effect, ground):
    images = (ground + 0.7 * blobs()).repeat(1, 3, 1, 1)
    moved = centroid(change(effect, images, quality=95)) - centroid(images)
    assert moved.abs().max() < 0.05


def test_bloom_spreads_evenly():
    bright = blobs()
    sigma = torch.linspace(1, 8, 24).reshape(-1, 1, 1, 1)
    blurred = _gaussian(bright, sigma)
    assert (centroid(blurred) - centroid(bright)).abs().max() < 0.01
    torch.testing.assert_close(blurred.sum(), bright.sum(), rtol=1e-3, atol=0)
    # Variances add.
    peak = 9 / (9 + sigma.flatten() ** 2)
    torch.testing.assert_close(blurred.amax(dim=(1, 2, 3)), peak, rtol=0.03, atol=0)


@pytest.mark.parametrize("effect", ["motion", "resolution"])
def test_a_ramp_stays_a_ramp(effect):
    inner = (slice(None), slice(None), slice(16, -16), slice(16, -16))
    torch.testing.assert_close(
        change(effect, ramp())[inner], ramp()[inner], rtol=0, atol=1e-3
    )


def test_motion_blurs_and_keeps_the_mean():
    images = texture()
    blurred = change("motion", images, motion_length=13.0)
    torch.testing.assert_close(blurred.mean(), images.mean(), rtol=0, atol=5e-3)
    assert (blurred.std(dim=(2, 3)) < images.std(dim=(2, 3))).all()


def test_low_resolution_removes_detail():
    checker = (torch.arange(SIZE[0])[:, None] + torch.arange(SIZE[1])) % 2
    images = checker.float().expand(2, 3, *SIZE)
    lost = change("resolution", images, downscale=4.0)
    torch.testing.assert_close(lost, torch.full_like(lost, 0.5), rtol=0, atol=0.02)


def test_fog_is_a_veil_of_one_gray():
    black, white = change("fog", flat(0.0)), change("fog", flat(1.0))
    # The remaining contrast is the transmission of the veil.
    through = white - black
    torch.testing.assert_close(through, through[:, :1].expand_as(through))
    assert through.min() >= 1 - 0.85 - 1e-6
    assert through.min() < 0.3
    veil = black / (1 - through)
    spread = veil.amax(dim=(2, 3)) - veil.amin(dim=(2, 3))
    assert spread[(1 - through).amin(dim=(2, 3)) > 0.05].max() < 1e-4
    assert veil[through < 0.9].min() > 0.4


def test_shadows_only_darken_and_only_down_to_the_limit():
    shaded = change("shadows", flat(1.0, 64), shadow_gain=0.3)
    assert shaded.max() == 1
    assert 0.85 * 0.3 - 1e-6 <= shaded.min() < 0.35
    assert (shaded[:, 0] >= shaded[:, 2] - 1e-6).all()  # bluer than the sun
    # Some have edges of one pixel, some have none.
    steepest = shaded[:, 1].diff(dim=2).abs().amax(dim=(1, 2))
    assert steepest.max() > 0.3
    assert steepest.min() < 0.03


def test_lights_multiply_and_run_from_cold_to_warm():
    dim, bright = change("lights", flat(0.1)), change("lights", flat(0.2))
    torch.testing.assert_close(bright, 2 * dim)
    warmth = torch.log(dim[:, 2] / dim[:, 0])
    means = warmth.mean(dim=(1, 2))
    assert means.max() > 0.2
    assert means.min() < -0.2
    assert warmth.std(dim=(1, 2)).max() > 0.1  # several lights in one view
    assert warmth.abs().max() <= 2 * 0.5 * 1.8 + 0.2


def test_lamps_keep_the_ambient_light_and_brighten_their_surroundings():
    lit = change("lamps", flat(0.5, 32), ambient=0.15)
    assert 0.5 * 0.15 - 1e-6 <= lit.min() < 0.5 * 0.3
    assert lit.max() == 1
    spread = lit.amax(dim=(1, 2, 3)) - lit.amin(dim=(1, 2, 3))
    assert spread.max() > 0.8


def test_vignette_falls_off_from_the_center():
    dark = change("vignette", flat(1.0), falloff=1.0)
    # The nearest corner is at least .8 of half the diagonal away, the farthest 1.2.
    corner = dark[:, 0, -1, -1]
    assert corner.min() >= (1 + 1.2**2) ** -2 - 1e-3
    assert corner.max() <= (1 + 0.8**2) ** -2 + 1e-3
    assert dark[:, :, 38:58, 51:77].amax(dim=(1, 2, 3)).min() > 0.99


def test_night_applies_a_gamma_of_up_to_four():
    quiet = {"read_noise": 0.0, "shot_noise": 0.0, "camera_gain": 1.0}
    levels = torch.tensor([0.2, 0.3, 0.45])  # darker than any sky
    images = levels.repeat_interleave(32).expand(32, 3, 96, 96).clone()
    images = torch.cat((images, images), dim=3)
    green = change("night", images, gamma=4.0, **quiet)[:, 1, 0, [0, 32, 64]]
    gamma = green.log() / levels.log()
    torch.testing.assert_close(gamma, gamma[:, :1].expand_as(gamma))
    assert 1 + 0.3 * 3 <= gamma.min() < 2.2
    assert 3.7 < gamma.max() <= 4


def test_night_noise_is_sensor_noise():
    ranges = {"gamma": 1.0, "camera_gain": 1.0, "read_noise": 0.03, "shot_noise": 0.01}
    noisy = change("night", flat(0.4), **ranges)[:, 1]
    expected = math.sqrt(0.03**2 + 0.01 * 0.4)
    assert noisy.std(dim=(1, 2)).mean() == pytest.approx(expected, rel=0.03)
    louder = change("night", flat(0.05), **(ranges | {"camera_gain": 4.0}))[:, 1]
    gain = louder.mean(dim=(1, 2)) / 0.05
    assert gain.max() > 2.5
    assert torch.corrcoef(torch.stack((gain, louder.std(dim=(1, 2)))))[0, 1] > 0.95


def test_the_sky_darkens_at_night():
    quiet = {"read_noise": 0.0, "shot_noise": 0.0, "gamma": 1.0, "camera_gain": 1.0}
    dark = change("night", flat(0.95, 64), **quiet)[:, 1]
    top, bottom = dark[:, 0].mean(dim=1), dark[:, -1].mean(dim=1)
    torch.testing.assert_close(bottom, torch.full_like(bottom, 0.95))
    # By .9 of .4 to 1, in two images of five.
    assert 0.1 * 0.95 - 1e-4 <= top.min() < 0.2
    changed = top[top < 0.94]
    assert changed.max() <= 0.95 * (1 - 0.9 * 0.4) + 0.05
    assert 0.25 < len(changed) / 64 < 0.55


def test_glare_only_adds_light():
    images = texture()
    assert (change("glare", images) >= images - 1e-6).all()


def test_rain_draws_streaks():
    wet = change("rain", flat(0.0), rain_opacity=0.7)
    assert wet.max() < 0.96
    bright = (wet > wet.amin(dim=(1, 2, 3), keepdim=True) + 0.1).float().mean()
    assert 0.003 < bright < 0.3


def test_foliage_keeps_gray_and_the_luma_of_green():
    gray = texture().mean(dim=1, keepdim=True).repeat(1, 3, 1, 1)
    torch.testing.assert_close(change("foliage", gray), gray)
    green = torch.tensor([0.1, 0.4, 0.2]).reshape(1, 3, 1, 1) * torch.ones(32, 3, *SIZE)
    turned = change("foliage", green)[:, :, 0, 0]
    luma = turned @ torch.tensor(LUMA_BGR)
    torch.testing.assert_close(
        luma,
        torch.full((32,), float(green[0, :, 0, 0] @ torch.tensor(LUMA_BGR))),
        rtol=0.1,
        atol=0,
    )
    assert (turned[:, 2] > turned[:, 1]).any()  # red leaves
    assert (turned[:, 2] < turned[:, 1]).any()  # green ones


def test_snow_is_white_in_patches():
    images = flat(0.4, 32)
    covered = (change("snow", images) - images)[:, 1] > 0.2
    share = covered.float().mean(dim=(1, 2))
    assert share.max() > 0.8
    assert share.min() < 0.3
    snowy = change("snow", images)
    assert (snowy[:, 0] >= snowy[:, 2] - 1e-6).all()
    assert (change("snow", texture()) >= texture() - 1e-6).all()


def test_occluders_cover_what_their_mask_says():
    images, others = texture(16), flat(0.0)
    relit = relight(images, others, generator(), 1.0, only("occluders"))
    covered = relit.covered[:, None].expand_as(images)
    assert torch.equal(relit.images[~covered], images[~covered])
    assert 0.05 < relit.covered.float().mean() < 0.5
    # Black except for the antialiased border.
    assert (relit.images[covered] < 1e-6).float().mean() > 0.8


def test_color_transfer_gives_the_mean_and_deviation_of_the_other():
    images = 0.3 + 0.3 * texture()
    tint = torch.tensor([0.5, 0.4, 0.45]).reshape(1, 3, 1, 1)
    others = 0.25 + tint * texture(8, 1)
    moved = change("color_transfer", images, others=others, transfer=1.0)
    axes = torch.tensor(OPPONENT)
    torch.testing.assert_close(axes @ axes.T, torch.eye(3))
    for statistic in (torch.mean, torch.std):
        torch.testing.assert_close(
            statistic(axes @ moved.flatten(2), dim=2),
            statistic(axes @ others.flatten(2), dim=2),
            rtol=0.1,
            atol=0.02,
        )


def test_tone_transfer_recovers_the_curve_between_two_exposures():
    others = texture()
    images = others**2
    before = (images - others).abs().mean()
    after = (
        change("tone_transfer", images, others=others, transfer=1.0) - others
    ).abs()
    assert after.mean() < 0.2 * before


def test_tone_curves_are_monotone_and_clip():
    steps = torch.linspace(0, 1, 128).expand(64, 3, *SIZE).clone()
    bent = change("tone", steps, clip=0.2)[:, :, 0]
    assert (bent.diff(dim=2) >= -1e-3).all()
    clipped = (bent == 1).float().mean(dim=2)
    assert clipped.max() > 0.1
    middle = bent[:, :, 64]
    assert middle.std() > 0.1
    # Channels bend alike, not equally.
    assert 0 < (middle[:, 0] - middle[:, 1]).std() < middle[:, 1].std()


class FirstCorner(Draws):
    """Draws that start the blocks of JPEG in the corner, as an encoder does."""

    def uniform(self, low, high, *shape):
        return torch.full(shape, float(low))


@pytest.mark.parametrize("quality", [15, 40, 75])
def test_jpeg_matches_an_encoder(quality):
    image = texture(1)
    batch = Batch(
        image.clone(), image, torch.ones(1, 1, 1, 1), FirstCorner(generator())
    )
    ours = jpeg(batch, LightRanges(quality=quality))[0].clamp(0, 1)
    pixels = (255 * image[0]).round().byte().permute(1, 2, 0).numpy()
    encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    theirs = cv2.imdecode(encoded, cv2.IMREAD_COLOR).astype(np.float32)
    lost = np.abs(theirs - pixels).mean()
    apart = np.abs(255 * ours.permute(1, 2, 0).numpy() - theirs).mean()
    assert apart < 0.35 * lost
