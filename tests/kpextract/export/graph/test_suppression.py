"""Suppression in a graph: its rounds, its window and its ties."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from kpextract.decode import DenseMaps, SparseRows, decode, take
from kpextract.export.graph.decoding import append_decoding
from kpextract.export.graph.suppression import find_crossing, rounds_of
from kpextract.export.graph.tidy import tidy
from kpextract.image import Frame
from kpextract.selection import apart
from training.network import CONFIGS


def make_maps(logits, x, y):
    """Make maps of one image; all arrays are (h, w)."""
    logits, x, y = (np.asarray(array, np.float32) for array in (logits, x, y))
    descriptors = np.random.default_rng(0).normal(size=(1, 4, *logits.shape))
    return DenseMaps(
        logits[None, None], np.stack([x, y])[None], descriptors.astype(np.float32)
    )


def decode_both(maps, min_distance, crossing, graph_of_maps, run_graph, batch=1):
    """Decode in a graph and in NumPy, without a budget."""
    rows, columns = maps.score_logits.shape[2:]
    dense = graph_of_maps(maps, fixed_size=True)
    sparse = append_decoding(
        dense,
        rows * columns,
        mask=False,
        float16=False,
        min_distance=min_distance,
        crossing=crossing,
    )
    image = np.zeros((batch, 8 * rows, 8 * columns, 3), np.uint8)
    found = run_graph(sparse, SparseRows, {"image": image})
    frame = Frame((8 * columns, 8 * rows), (8 * columns, 8 * rows))
    return [
        (
            take(found.image(index), frame).keypoints,
            decode(maps.image(index), frame, min_distance=min_distance).keypoints,
        )
        for index in range(batch)
    ]


@pytest.mark.parametrize("min_distance", [1.0, 2.0, 3.0, 4.7, 4.9, 8.0])
@pytest.mark.parametrize("crossing", [0.0, 1.6, 4.0])
def test_random_cells_are_suppressed_as_in_numpy(
    min_distance, crossing, graph_of_maps, run_graph
):
    generator = np.random.default_rng(0)
    shape = (2, 30, 40)
    down, right = np.mgrid[:30, :40]
    x, y = (
        8 * cell + 3.5 + generator.uniform(-4 - crossing, 4 + crossing, shape)
        for cell in (right, down)
    )
    logits = generator.integers(0, 9, shape)  # many ties
    parts = [make_maps(*arrays) for arrays in zip(logits, x, y, strict=True)]
    maps = DenseMaps(*map(np.concatenate, zip(*parts, strict=True)))
    for ours, reference in decode_both(
        maps, min_distance, crossing, graph_of_maps, run_graph, batch=2
    ):
        assert 0 < len(reference) < 1200
        np.testing.assert_array_equal(ours, reference)


def chain(points):
    """One row of cells, each worse than the one before and 2 px from it alone."""
    columns = np.arange(points)
    return make_maps([100.0 - columns], [2.0 * columns + 4], [np.full(points, 3.5)])


@pytest.mark.parametrize("min_distance", [3.0, 4.0])
def test_a_chain_of_as_many_points_as_rounds_is_exact(
    min_distance, graph_of_maps, run_graph
):
    count = rounds_of(min_distance)
    # Cells hold points far outside of them here, so that a chain can be of any length.
    ((ours, reference),) = decode_both(
        chain(count), min_distance, 80.0, graph_of_maps, run_graph
    )
    np.testing.assert_array_equal(ours, reference)
    np.testing.assert_array_equal(ours[:, 0], np.arange(4, 2 * count + 4, 4))


def test_a_longer_chain_loses_points_and_never_the_distance(graph_of_maps, run_graph):
    count = rounds_of(3.0) + 6
    ((ours, reference),) = decode_both(
        chain(count), 3.0, 80.0, graph_of_maps, run_graph
    )
    lost = set(reference[:, 0]) - set(ours[:, 0])
    assert set(ours[:, 0]) < set(reference[:, 0])
    assert len(lost) == 3
    assert np.diff(ours[:, 0]).min() >= 3


@pytest.mark.parametrize(("distance", "rounds"), [(0.5, 3), (2, 5), (3, 7), (8, 17)])
def test_rounds_are_odd(distance, rounds):
    assert rounds_of(distance) == rounds


def chain_lengths(logits, points, min_distance):
    """Count the rounds after which a graph without a bound on them would not change."""
    better = (logits[None] > logits[:, None]) | (
        (logits[None] == logits[:, None]) & np.tri(len(logits), k=-1, dtype=bool)
    )
    steps = points[:, None] - points[None]
    rivals = better & ((steps * steps).sum(axis=2) < min_distance**2)
    kept, rounds = np.ones(len(logits), bool), 0
    while True:
        after = ~(rivals & kept[None]).any(axis=1)
        if (after == kept).all():
            return rounds, kept
        kept, rounds = after, rounds + 1


@pytest.mark.parametrize("min_distance", [2.0, 3.0, 4.0, 8.0])
def test_photos_take_fewer_rounds(min_distance, extractor, photo, other_photo):
    for image in (photo, other_photo):
        everything = type(extractor)(max_keypoints=None).detect(image)
        scores, points = everything.scores, everything.keypoints
        rounds, kept = chain_lengths(scores, points, min_distance)
        assert rounds < rounds_of(min_distance)
        np.testing.assert_array_equal(
            np.flatnonzero(kept), apart(scores, points, min_distance)
        )


@pytest.mark.parametrize("name", ["small", "base"])
def test_how_far_points_leave_their_cells_is_read_from_the_graph(name, root):
    dense = tidy(onnx.load(root / "models" / f"{name}.onnx"))
    reach = CONFIGS[name].position_reach
    assert find_crossing(dense) == pytest.approx(8 * (reach - 0.5), abs=1e-5)


def test_an_unknown_position_head_may_reach_a_cell_further(root):
    dense = tidy(onnx.load(root / "models" / "small.onnx"))
    for node in dense.graph.node:
        if node.op_type == "Tanh":
            node.op_type = "Sigmoid"
    assert find_crossing(dense) == 8


def test_the_window_is_as_small_as_the_distance_allows(write):
    from kpextract.export.variant import Variant

    for distance, side in ((3.0, 3), (4.7, 3), (4.9, 5), (8.0, 5)):
        model = onnx.load(write(Variant(min_distance=distance)))
        (window,) = (
            numpy_helper.to_array(weight)
            for weight in model.graph.initializer
            if weight.name.endswith("neighborhood")
        )
        assert window.shape == (side**2 - 1, 1, side, side)
        assert (window.sum(axis=(1, 2, 3)) == 1).all()
