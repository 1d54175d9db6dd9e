import numpy as np
import pytest

from kpextract.decode import (
    DenseMaps,
    Octave,
    SparseRows,
    decode,
    decode_octaves,
    sigmoid,
    take,
)
from kpextract.image import Frame
from kpextract.sampling import sample_descriptors

HEIGHT, WIDTH = 5, 6  # cells
SIZE = (8 * WIDTH, 8 * HEIGHT)
FRAME = Frame(SIZE, SIZE)


def make_maps(logits, relative=(0.5, 0.5), dimension=4, seed=0):
    """Make maps of one image; every cell's point at the same place in its cell."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    x = 8 * (columns + relative[0]) - 0.5
    y = 8 * (rows + relative[1]) - 0.5
    generator = np.random.default_rng(seed)
    descriptor_map = generator.normal(size=(dimension, HEIGHT, WIDTH))
    return DenseMaps(
        np.asarray(logits, np.float32).reshape(1, HEIGHT, WIDTH),
        np.stack((x, y)).astype(np.float32),
        descriptor_map.astype(np.float32),
    )


def peaks(**cells):
    """Logits of -9 except at r{row}c{column}=value."""
    logits = np.full((HEIGHT, WIDTH), -9, np.float32)
    for name, value in cells.items():
        logits[int(name[1]), int(name[3])] = value
    return logits


def test_one_peak_decodes_to_the_coordinate_computed_by_hand():
    features = decode(make_maps(peaks(r2c3=5), (0.25, 0.75)), FRAME, max_keypoints=1)
    # x = 8 (3 + 0.25) - 0.5, y = 8 (2 + 0.75) - 0.5; 1 / (1 + exp(-5)) = 0.99330715
    np.testing.assert_array_equal(features.keypoints, [[25.5, 21.5]])
    np.testing.assert_allclose(features.scores, [0.99330715], rtol=1e-6)
    assert features.keypoints.dtype == features.scores.dtype == np.float32
    assert features.descriptors.dtype == np.float32
    assert features.image_size == (48, 40)


def test_saturated_scores_are_ranked_by_logit():
    features = decode(
        make_maps(peaks(r0c0=20, r1c1=40, r2c2=30)), FRAME, max_keypoints=3
    )
    np.testing.assert_array_equal(features.scores, [1, 1, 1])
    np.testing.assert_array_equal(features.keypoints[:, 0], [11.5, 19.5, 3.5])


def test_ties_keep_the_order_of_the_grid():
    features = decode(make_maps(np.zeros((HEIGHT, WIDTH))), FRAME, max_keypoints=8)
    np.testing.assert_array_equal(
        features.keypoints[:, 0] // 8, [0, 1, 2, 3, 4, 5, 0, 1]
    )
    np.testing.assert_array_equal(features.keypoints[:, 1] // 8, [0] * 6 + [1] * 2)


def test_without_a_budget_every_cell_has_its_point():
    assert len(decode(make_maps(peaks()), FRAME)) == HEIGHT * WIDTH


def test_the_budget_may_exceed_the_cells():
    assert len(decode(make_maps(peaks()), FRAME, max_keypoints=999)) == HEIGHT * WIDTH


def test_min_score_is_a_score_not_a_logit():
    maps = make_maps(peaks(r0c0=0.1, r1c1=-0.1))
    assert len(decode(maps, FRAME, min_score=0.5)) == 1


def test_the_mask_acts_before_the_budget():
    maps = make_maps(peaks(r0c0=9, r0c1=8, r4c5=1, r3c5=2))
    mask = np.zeros((40, 48), bool)
    mask[24:, 40:] = True
    features = decode(maps, FRAME, max_keypoints=2, mask=mask)
    np.testing.assert_array_equal(features.keypoints, [[43.5, 27.5], [43.5, 35.5]])


def test_the_mask_is_read_at_the_keypoint_not_at_its_cell():
    maps = make_maps(peaks(r1c1=9), (0.9, 0.5))  # x = 8 * 1.9 - 0.5 = 14.7
    mask = np.zeros((40, 48), bool)
    mask[:, 15] = True
    assert len(decode(maps, FRAME, mask=mask)) == HEIGHT * 1


def test_an_empty_result_keeps_shapes_and_dtypes():
    features = decode(make_maps(peaks()), FRAME, mask=np.zeros((40, 48), bool))
    assert features.keypoints.shape == (0, 2)
    assert features.scores.shape == (0,)
    assert features.descriptors.shape == (0, 4)
    assert len(features) == 0


def test_points_beyond_the_image_are_dropped():
    # x = 8 c + 10.5, of which c = 5 gives 50.5; y = 8 r - 3.5, of which r = 0 is -3.5.
    maps = make_maps(peaks(r0c1=9, r1c5=8, r1c1=7), (1.375, -0.375))
    points = decode(maps, FRAME).keypoints
    assert len(points) == (HEIGHT - 1) * (WIDTH - 1)
    np.testing.assert_array_equal(points.min(axis=0), [10.5, 4.5])
    np.testing.assert_array_equal(points.max(axis=0), [42.5, 28.5])
    # The budget is for those inside.
    best = decode(maps, FRAME, max_keypoints=1)
    np.testing.assert_array_equal(best.keypoints, [[18.5, 4.5]])


def test_points_in_the_outer_half_of_a_border_pixel_are_clipped():
    # x = 8 c + 7.25, at most 47.25; y = 8 r - 0.25.
    points = decode(make_maps(peaks(), (0.96875, 0.03125)), FRAME).keypoints
    assert len(points) == HEIGHT * WIDTH
    assert points[:, 0].max() == 47
    assert points[:, 1].min() == 0


@pytest.mark.parametrize(
    ("relative", "columns", "rows"),
    [((0.0, 0.0), WIDTH, HEIGHT), ((1.0, 1.0), WIDTH - 1, HEIGHT - 1)],
    ids=["at -0.5 is inside", "at W - 0.5 is outside"],
)
def test_the_image_is_half_open(relative, columns, rows):
    assert len(decode(make_maps(peaks(), relative), FRAME)) == columns * rows


def test_no_keypoint_lies_in_the_padding():
    frame = Frame((43, 34), (43, 34))
    # x = 8 c + 7.25 and y = 8 r + 7.25: of the last column and row in the padding.
    points = decode(make_maps(peaks(), (0.96875, 0.96875)), frame).keypoints
    assert len(points) == (HEIGHT - 1) * (WIDTH - 1)
    np.testing.assert_array_equal(points.max(axis=0), [39.25, 31.25])


def test_rows_of_a_graph_that_lie_in_the_padding_are_dropped():
    rows = SparseRows(
        np.float32([[42.5, 3], [42.25, 3], [3, 33.5], [3, 5], [1, 1]]),
        np.float32([0.9, 0.8, 0.7, 0.6, 0.5]),
        np.eye(5, dtype=np.float32),
        4,
    )
    features = take(rows, Frame((43, 34), (43, 34)))
    np.testing.assert_array_equal(features.keypoints, [[42, 3], [3, 5]])
    np.testing.assert_array_equal(features.scores, np.float32([0.8, 0.6]))
    np.testing.assert_array_equal(features.descriptors, np.eye(5)[[1, 3]])


def test_resizing_is_undone_with_the_half_pixels():
    # Twice the size in x, four times in y: x = (25.5 + 0.5) * 2 - 0.5 = 51.5,
    # y = (21.5 + 0.5) * 4 - 0.5 = 87.5.
    frame = Frame((96, 160), SIZE)
    features = decode(make_maps(peaks(r2c3=5), (0.25, 0.75)), frame, max_keypoints=1)
    np.testing.assert_array_equal(features.keypoints, [[51.5, 87.5]])
    assert features.image_size == (96, 160)


def test_a_resized_image_is_masked_and_clipped_in_its_own_pixels():
    # The caller's image is twice as large; of the network's input the last two columns
    # and one row are padding.
    frame = Frame((92, 78), (46, 39))
    maps = make_maps(peaks(), (0.95, 0.95))
    points = decode(maps, frame).keypoints
    # Of columns 0 to 4 and rows 0 to 3: 2 (8 c + 7.6) - 0.5.
    np.testing.assert_allclose(points.max(axis=0), [78.7, 62.7], rtol=1e-6)
    mask = np.zeros((78, 92), bool)
    mask[:, 46:] = True
    kept = decode(maps, frame, mask=mask).keypoints
    assert len(kept) == 4 * 3  # columns 2 to 4, of which 2 is at 46.7
    assert kept[:, 0].min() > 45.5


def test_descriptors_of_a_resized_image_are_those_of_the_network_input():
    maps = make_maps(peaks())
    plain = decode(maps, FRAME).descriptors
    resized = decode(maps, Frame((96, 80), SIZE)).descriptors
    np.testing.assert_array_equal(plain, resized)


def test_descriptors_are_bilinear_at_the_sub_pixel_point():
    dense = np.zeros((2, HEIGHT, WIDTH), np.float32)
    dense[0, 1, 1], dense[1, 1, 2] = 3, 1
    # Map entry (1, 1) lies at pixel (11.5, 11.5), entry (1, 2) at (19.5, 11.5). A point
    # a quarter of the way: (0.75 * 3, 0.25 * 1) before normalising.
    sampled = sample_descriptors(dense, np.array([[13.5, 11.5]], np.float32), HEIGHT)
    np.testing.assert_allclose(
        sampled, [np.array([2.25, 0.25]) / np.hypot(2.25, 0.25)], rtol=1e-6
    )


def test_a_finer_map_is_sampled_at_its_own_stride():
    dense = np.zeros((2, 2 * HEIGHT, 2 * WIDTH), np.float32)
    dense[0, 2, 3], dense[1, 3, 3] = 1, 1
    # Stride 4: entry (2, 3) lies at pixel (13.5, 9.5), entry (3, 3) at (13.5, 13.5).
    sampled = sample_descriptors(dense, np.array([[13.5, 10.5]], np.float32), HEIGHT)
    np.testing.assert_allclose(
        sampled, [np.array([0.75, 0.25]) / np.hypot(0.75, 0.25)], rtol=1e-6
    )


def test_the_border_of_the_map_is_repeated():
    maps = make_maps(peaks())
    sampled = sample_descriptors(
        maps.descriptor_map, np.array([[0, 0], [47, 39]], np.float32), HEIGHT
    )
    corners = maps.descriptor_map[:, [0, -1], [0, -1]].T
    expected = corners / np.linalg.norm(corners, axis=1, keepdims=True)
    np.testing.assert_allclose(sampled, expected, rtol=1e-5)


def test_descriptors_have_unit_length_and_zero_stays_zero():
    maps = make_maps(peaks())
    norms = np.linalg.norm(decode(maps, FRAME).descriptors, axis=1)
    np.testing.assert_allclose(norms, 1, rtol=1e-6)
    silent = maps._replace(descriptor_map=np.zeros_like(maps.descriptor_map))
    np.testing.assert_array_equal(decode(silent, FRAME).descriptors, 0)


@pytest.mark.filterwarnings("error")
def test_sigmoid_of_extreme_logits():
    logits = np.array([-1000, 0, 1000], np.float32)
    np.testing.assert_array_equal(sigmoid(logits), [0, 0.5, 1])


def test_a_position_of_nan_reaches_the_caller_and_its_descriptor_is_nan():
    maps = make_maps(peaks(r2c3=5, r1c1=4))
    maps.positions[:, 2, 3] = np.nan
    features = decode(maps, FRAME, max_keypoints=2)
    assert np.isnan(features.keypoints[0]).all()
    assert np.isnan(features.descriptors[0]).all()
    assert np.isfinite(features.descriptors[1]).all()


# The image is twice the size of make_maps': 96 x 80, of which that is the half.
WHOLE = Frame((96, 80), (96, 80))
HALF = Frame((96, 80), SIZE)
OPTIONS = {
    "max_keypoints": None,
    "min_score": 0.0,
    "mask": None,
    "selection": "strongest",
    "min_distance": 0.0,
    "refinement": None,
}


def whole_maps(logits, relative=(0.5, 0.5)):
    rows, columns = np.mgrid[: 2 * HEIGHT, : 2 * WIDTH].astype(np.float32)
    x, y = (8 * (c + r) - 0.5 for c, r in zip((columns, rows), relative, strict=True))
    descriptors = np.random.default_rng(1).normal(size=(4, 2 * HEIGHT, 2 * WIDTH))
    return DenseMaps(
        np.asarray(logits, np.float32).reshape(1, 2 * HEIGHT, 2 * WIDTH),
        np.stack((x, y)).astype(np.float32),
        descriptors.astype(np.float32),
    )


def two_octaves(whole, half):
    return [Octave(whole, WHOLE), Octave(half, HALF)]


def test_octaves_share_one_budget_and_are_mapped_with_the_half_pixels():
    whole = np.full((2 * HEIGHT, 2 * WIDTH), -9.0)
    whole[2, 3], whole[7, 7] = 5, 3
    octaves = two_octaves(
        whole_maps(whole), make_maps(peaks(r2c3=4, r1c1=2), (0.25, 0.75))
    )
    found = decode_octaves(octaves, **OPTIONS | {"max_keypoints": 4})
    # Of the half: x = 25.5 becomes (25.5 + 0.5) * 2 - 0.5 = 51.5, and y = 21.5 43.5;
    # x = 9.5 becomes 19.5, and y = 13.5 27.5.
    expected = [[27.5, 19.5], [51.5, 43.5], [59.5, 59.5], [19.5, 27.5]]
    np.testing.assert_array_equal(found.keypoints, expected)
    np.testing.assert_array_equal(found.scores, sigmoid(np.float32([5, 4, 3, 2])))
    assert found.image_size == (96, 80)
    own = sample_descriptors(
        octaves[1].maps.descriptor_map, np.float32([[25.5, 21.5], [9.5, 13.5]]), HEIGHT
    )
    np.testing.assert_array_equal(found.descriptors[[1, 3]], own)


def test_of_equal_scores_the_larger_octave_comes_first():
    octaves = two_octaves(whole_maps(np.zeros((10, 12))), make_maps(np.zeros((5, 6))))
    found = decode_octaves(octaves, **OPTIONS)
    assert len(found) == 120 + 30
    np.testing.assert_array_equal(found.keypoints[:2], [[3.5, 3.5], [11.5, 3.5]])
    np.testing.assert_array_equal(found.keypoints[120:122], [[7.5, 7.5], [23.5, 7.5]])


def test_the_distance_holds_across_octaves():
    whole = np.full((2 * HEIGHT, 2 * WIDTH), -9.0)
    whole[0, 0], whole[4, 4] = 5, 1  # at 3.5 and at 35.5
    half = make_maps(peaks(r0c0=4, r2c2=2))  # at 7.5 and at 39.5
    octaves = two_octaves(whole_maps(whole), half)
    options = OPTIONS | {"min_score": 0.5}
    assert len(decode_octaves(octaves, **options)) == 4
    found = decode_octaves(octaves, **options | {"min_distance": 6})
    # They are 5.66 px apart, in pixels of the whole image.
    np.testing.assert_array_equal(found.keypoints, [[3.5, 3.5], [39.5, 39.5]])


def test_octaves_are_masked_at_the_callers_pixel():
    mask = np.zeros((80, 96), bool)
    mask[7:9, 7:9] = True  # 7.5 rounds to 8
    octaves = two_octaves(whole_maps(np.zeros((10, 12))), make_maps(np.zeros((5, 6))))
    found = decode_octaves(octaves, **OPTIONS | {"mask": mask})
    np.testing.assert_array_equal(found.keypoints, [[7.5, 7.5]])


def test_a_grid_spreads_the_points_of_both_octaves():
    octaves = two_octaves(whole_maps(np.zeros((10, 12))), make_maps(np.ones((5, 6))))
    found = decode_octaves(
        octaves, **OPTIONS | {"selection": "grid", "max_keypoints": 40}
    )
    assert len(found) == 40
    assert (np.diff(found.scores) <= 0).all()
    assert (found.scores > 0.7).sum() == 30  # all of the half, which is the better one


class Shift:
    """Stands for a refinement: moves by what one pixel of the image says."""

    def __call__(self, image, points):
        step = np.float32(image[0, 0, 0])
        return points + step, np.full(len(points), 0.1 * step, np.float32)


def test_each_octave_is_refined_in_its_own_pixels():
    whole = np.full((2 * HEIGHT, 2 * WIDTH), -9.0)
    whole[2, 3] = 5
    octaves = [
        Octave(whole_maps(whole), WHOLE, np.full((80, 96, 3), 1, np.uint8)),
        Octave(make_maps(peaks(r2c3=4)), HALF, np.full((40, 48, 3), 2, np.uint8)),
    ]
    options = OPTIONS | {"max_keypoints": 2, "refinement": Shift()}
    found = decode_octaves(octaves, **options)
    # (27.5, 19.5) moves by 1; (27.5, 19.5) of the half by 2, then doubles.
    np.testing.assert_array_equal(found.keypoints, [[28.5, 20.5], [59.5, 43.5]])
    np.testing.assert_allclose(found.sigma, [0.1, 0.4], rtol=1e-6)


def test_suppression_comes_before_the_budget():
    logits = peaks(r1c1=5, r1c2=4, r3c3=3)
    maps = make_maps(logits)
    maps.positions[0, 1, 2] = 14.5  # 3 px from its neighbor at 11.5
    kept = decode(maps, FRAME, max_keypoints=2, min_distance=3.5).keypoints
    np.testing.assert_array_equal(kept, [[11.5, 11.5], [27.5, 27.5]])
    near = decode(maps, FRAME, max_keypoints=2, min_distance=3).keypoints
    np.testing.assert_array_equal(near, [[11.5, 11.5], [14.5, 11.5]])


def test_scores_never_rise_where_the_sigmoid_does(monkeypatch):
    """Which logits make it rise depends on the processor; here every second does."""
    rising = np.float32([0.9, np.nextafter(np.float32(0.9), np.float32(1))] * 15)
    monkeypatch.setattr("kpextract.decode.sigmoid", lambda logits: rising)
    np.testing.assert_array_equal(
        decode(make_maps(range(30)), FRAME).scores, np.float32([0.9] * 30)
    )
    rows = SparseRows(
        np.zeros((30, 2), np.float32), rising, np.ones((30, 4), np.float32), 30
    )
    np.testing.assert_array_equal(take(rows, FRAME).scores, np.float32([0.9] * 30))
