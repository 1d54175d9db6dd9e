"""Decoding in the graph: what the network does not easily show."""

import numpy as np
import pytest

from kpextract.decode import DenseMaps, SparseRows, decode, take
from kpextract.export.graph.decoding import MOST, append_decoding
from kpextract.image import Frame


def make_maps(rows, columns, logits):
    """Make maps of one image with every point in the middle of its cell."""
    y, x = np.mgrid[:rows, :columns].astype(np.float32) * 8 + 3.5
    descriptors = np.random.default_rng(0).normal(size=(1, 4, rows, columns))
    return DenseMaps(
        np.float32(logits).reshape(1, 1, rows, columns),
        np.stack((x, y))[None],
        descriptors.astype(np.float32),
    )


def inputs(maps, mask=None):
    height, width = (8 * side for side in maps.score_logits.shape[2:])
    arrays = {"image": np.zeros((1, height, width, 3), np.uint8)}
    return arrays if mask is None else arrays | {"mask": mask}


@pytest.mark.parametrize("budget", [MOST - 1, MOST, MOST + 1, 2 * MOST + 5, 8000])
@pytest.mark.parametrize("fixed_size", [True, False])
def test_many_keypoints_come_in_the_order_of_one_long_ranking(
    budget, fixed_size, graph_of_maps, run_graph
):
    # Few values, so that ties straddle the border between two turns.
    logits = np.random.default_rng(0).integers(-2, 3, 8000)
    maps = make_maps(80, 100, logits)
    dense = graph_of_maps(maps, fixed_size)
    sparse = append_decoding(dense, budget, mask=False, float16=False)
    topk = [node for node in sparse.graph.node if node.op_type == "TopK"]
    assert len(topk) == -(-budget // MOST)
    rows = run_graph(sparse, SparseRows, inputs(maps))
    order = np.argsort(-logits, kind="stable")[:budget]
    points = maps.positions.reshape(2, -1).T[order]
    np.testing.assert_array_equal(rows.keypoints[0], points)
    assert rows.count.tolist() == [budget]


@pytest.mark.parametrize("budget", [5, 30, MOST + 30])
def test_an_image_with_fewer_cells_than_rows_is_padded(
    budget, graph_of_maps, run_graph
):
    maps = make_maps(3, 4, np.arange(12))
    dense = graph_of_maps(maps, fixed_size=False)
    sparse = append_decoding(dense, budget, mask=False, float16=False)
    rows = run_graph(sparse, SparseRows, inputs(maps))
    assert rows.keypoints.shape == (1, budget, 2)
    assert rows.count.tolist() == [min(budget, 12)]
    assert (rows.scores[0, 12:] == 0).all()
    assert all(np.isfinite(array).all() for array in rows)


def test_the_mask_acts_before_the_budget(graph_of_maps, run_graph):
    maps = make_maps(3, 4, np.arange(12))
    mask = np.zeros((1, 24, 32), np.uint8)
    mask[0, :8] = 255  # the first row of cells, the lowest scores
    sparse = append_decoding(
        graph_of_maps(maps, fixed_size=True), 6, mask=True, float16=False
    )
    rows = run_graph(sparse, SparseRows, inputs(maps, mask))
    assert rows.count.tolist() == [4]
    expected = [[27.5, 3.5], [19.5, 3.5], [11.5, 3.5], [3.5, 3.5]]
    np.testing.assert_array_equal(rows.keypoints[0, :4], expected)


def test_a_mask_that_bars_everything_leaves_nothing(graph_of_maps, run_graph):
    maps = make_maps(3, 4, np.arange(12))
    sparse = append_decoding(
        graph_of_maps(maps, fixed_size=True), 6, mask=True, float16=False
    )
    rows = run_graph(sparse, SparseRows, inputs(maps, np.zeros((1, 24, 32), np.uint8)))
    assert rows.count.tolist() == [0]


def test_logits_that_saturate_are_still_ranked(graph_of_maps, run_graph):
    maps = make_maps(3, 4, np.arange(12) + 100)
    sparse = append_decoding(
        graph_of_maps(maps, fixed_size=True), 3, mask=False, float16=False
    )
    rows = run_graph(sparse, SparseRows, inputs(maps))
    assert rows.scores.tolist() == [[1, 1, 1]]
    np.testing.assert_array_equal(rows.keypoints[0, :, 0], [27.5, 19.5, 11.5])


def test_a_zero_descriptor_is_no_nan(graph_of_maps, run_graph):
    maps = make_maps(3, 4, np.arange(12))
    maps = maps._replace(descriptor_map=np.zeros_like(maps.descriptor_map))
    sparse = append_decoding(
        graph_of_maps(maps, fixed_size=True), 3, mask=False, float16=False
    )
    assert (run_graph(sparse, SparseRows, inputs(maps)).descriptors == 0).all()


def test_float16_descriptors_are_the_rounded_ones(graph_of_maps, run_graph):
    maps = make_maps(3, 4, np.arange(12))
    sparse = append_decoding(
        graph_of_maps(maps, fixed_size=True), 12, mask=False, float16=True
    )
    rows = run_graph(sparse, SparseRows, inputs(maps))
    assert rows.descriptors.dtype == np.float16
    frame = Frame((32, 24), (32, 24))
    expected = decode(maps.image(0), frame).descriptors
    np.testing.assert_allclose(
        take(rows.image(0), frame).descriptors, expected, rtol=0, atol=2**-11
    )
