from functools import partial

import numpy as np
import pytest
import torch

from export.trace import trace
from kpextract import Extractor
from kpextract.backends import graph, onnxrt
from kpextract.backends.base import Batch
from kpextract.backends.limits import Limits
from kpextract.backends.strips import (
    LEAST_WINDOW,
    MOST_PIXELS,
    cut,
    find_strips,
    join_strips,
    known_reach,
    split,
)
from kpextract.decode import DenseMaps
from kpextract.export.graph.receptive_field import reach_entry
from kpextract.export.variant import Variant, export_variant
from kpextract.image import STRIDE
from kpextract.modelfile import find_model
from training.network import BASE, UnsuperPoint

DENSE = {"kpextract.kind": "dense", "kpextract.reach": "46"}


def test_two_strips_by_hand():
    # 64 rows in calls of at most 40 with a halo of 8: each answers for 24 to 32.
    first, second = split(64, 40, 8)
    assert first == (slice(0, 40), slice(0, 32))
    assert second == (slice(24, 64), slice(32, 64))


def test_three_strips_of_one_height_by_hand():
    # 96 - 2 * 8 = 80 rows in three steps of 32, the last moved up to end at the border.
    strips = list(split(96, 48, 8))
    assert [strip.seen for strip in strips] == [
        slice(0, 48),
        slice(32, 80),
        slice(48, 96),
    ]
    assert [strip.kept for strip in strips] == [
        slice(0, 40),
        slice(40, 72),
        slice(72, 96),
    ]


@pytest.mark.parametrize("halo", [0, 8, 48])
@pytest.mark.parametrize("rows", [4, 9, 20])
def test_strips_answer_for_each_row_once_with_a_halo_around(halo, rows):
    rows = 8 * rows + 2 * halo
    for height in range(rows + 8, rows + 800, 8):
        strips = list(split(height, rows, halo))
        assert [s.kept.start for s in strips] == [
            0,
            *(s.kept.stop for s in strips[:-1]),
        ]
        assert strips[-1].kept.stop == height
        for seen, kept in strips:
            assert seen.stop - seen.start == strips[0].seen.stop <= rows
            assert kept.start < kept.stop
            assert seen.start == 0 or kept.start - seen.start >= halo
            assert seen.stop == height or seen.stop - kept.stop >= halo


class Recorder:
    """A graph whose maps are the image's first column, a value a cell."""

    def __init__(self):
        self.shapes = []

    def __call__(self, batch):
        images = batch.images
        assert batch.masks is None
        assert images.flags.c_contiguous
        self.shapes.append(images.shape)
        cells = images[:, None, ::8, ::8, 0].astype(np.float32)
        rows = np.zeros_like(cells) + 8 * np.arange(cells.shape[2])[:, None]
        fine = cells.repeat(2, axis=2).repeat(2, axis=3)
        return DenseMaps(cells, np.concatenate([cells, rows], axis=1), fine)


def in_strips(run, images, strips):
    return join_strips(map(run, cut(images, strips)), strips, images.shape)


def test_maps_of_each_image_come_together_and_y_is_the_whole_images():
    images = np.random.default_rng(0).integers(0, 256, (2, 512, 16, 3), dtype=np.uint8)
    run = Recorder()
    maps = in_strips(run, images, find_strips(images.shape, 41, most_pixels=1))
    # A halo of 48, calls of 4 * 48 = 192 rows, (512 - 96) / (192 - 96) of them.
    assert run.shapes == [(1, 184, 16, 3)] * 10
    for ours, reference in zip(maps, Recorder()(Batch(images)), strict=True):
        np.testing.assert_array_equal(ours, reference)
        assert ours.dtype == np.float32


@pytest.mark.parametrize(
    ("height", "width", "count"),
    [(480, 640, 0), (1088, 1920, 0), (1088, 1936, 2), (2160, 3840, 5), (2160, 640, 0)],
)
def test_only_images_that_are_too_large_are_run_in_strips(height, width, count):
    strips = find_strips((1, height, width, 3), 46)
    assert len(strips) == count
    for seen, _ in strips:
        assert (seen.stop - seen.start) * width <= MOST_PIXELS


def test_without_a_reach_there_are_no_strips():
    assert find_strips((1, 2160, 3840, 3), None) == []


@pytest.mark.parametrize(
    ("metadata", "limits", "reach"),
    [
        (DENSE, Limits(), 46),
        (DENSE, Limits(most=(4, None, 640)), 46),
        (DENSE, Limits(most=(1, 480, 640)), None),
        (DENSE | {"kpextract.kind": "sparse"}, Limits(), None),
        ({"kpextract.kind": "dense"}, Limits(), None),
    ],
)
def test_strips_are_for_dense_graphs_of_any_height_that_say_their_reach(
    metadata, limits, reach
):
    assert known_reach(metadata, limits) == reach


@pytest.fixture(scope="module", params=["small", "base"])
def model(request, tmp_path_factory):
    """Export a dense graph that says its reach; `base` with random weights."""
    path = tmp_path_factory.mktemp("dense") / f"{request.param}.onnx"
    if request.param == "small":
        export_variant("small", path, Variant(kind="dense"))
        return path
    torch.manual_seed(0)
    facts = {"kpextract.kind": "dense", "kpextract.version": "0"}
    graph = trace(UnsuperPoint(BASE).eval(), facts)
    for key, value in reach_entry(graph).items():
        graph.metadata_props.add(key=f"kpextract.{key}", value=value)
    path.write_bytes(graph.SerializeToString())
    return path


@pytest.fixture
def forced(monkeypatch):
    """Use strips for every image of more than four halos of rows."""
    monkeypatch.setattr(graph, "find_strips", partial(find_strips, most_pixels=1))


def open_backend(path):
    return onnxrt.OnnxBackend(find_model(path), "onnx-cpu", None)


# Of base the halo is 48 rows and the least window 192; of small 72 (67 in whole cells)
# and 288. So small has two strips, with rows of the window to spare, two that fill
# theirs, 2 * (288 - 2 * 72) + 2 * 72, and four.
@pytest.mark.parametrize("height", [296, 432, 600])
def test_the_maps_are_those_of_the_whole_image(model, height, monkeypatch):
    shape = (2, height, 40, 3)
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    backend = open_backend(model)
    whole = backend.infer(Batch(noise))
    used = []

    def watched(shape, reach):
        used.append((find_strips(shape, reach, most_pixels=1), reach))
        return used[-1][0]

    monkeypatch.setattr(graph, "find_strips", watched)
    strips = backend.infer(Batch(noise))
    ((found, reach),) = used
    assert len(found) > 1
    halo = -(-reach // STRIDE) * STRIDE  # in whole cells
    assert all(s.seen.stop - s.seen.start <= LEAST_WINDOW * halo for s in found)
    for ours, reference in zip(strips, whole, strict=True):
        scale = np.abs(reference).max()
        np.testing.assert_allclose(ours, reference, rtol=0, atol=1e-6 * scale)


def test_features_are_those_of_the_whole_image(photo, tmp_path, forced):
    path = tmp_path / "small.onnx"
    export_variant("small", path, Variant(kind="dense"))
    ours = Extractor(path).detect(photo)
    reference = Extractor("small").detect(photo)  # says no reach
    np.testing.assert_allclose(ours.keypoints, reference.keypoints, atol=1e-3)
    np.testing.assert_allclose(ours.descriptors, reference.descriptors, atol=1e-5)
