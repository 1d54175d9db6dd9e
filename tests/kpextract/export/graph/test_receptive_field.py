import json
from dataclasses import replace

import onnx
import pytest
import torch
from torch.nn import functional as F

from export.run import export
from export.trace import trace
from kpextract.export.graph.metadata import load_graph, read_metadata
from kpextract.export.graph.receptive_field import find_reach
from kpextract.export.variant import Variant, export_variant
from training.checkpoint import load_weights
from training.network import BASE, SMALL, UnsuperPoint

# By hand, rows above a cell: half a kernel times the stride before it, layer by layer.
# base: two layers at strides 1, 2, 4 and 8, and two of the heads at 8.
BASE_REACH = 2 * 1 + 2 * 2 + 2 * 4 + 2 * 8 + 2 * 8
# small: a kernel of 7 at 1, one of 3 at stride 4, one that leads from 4 to 8, five of
# one channel each at 8, and two of the heads: the hidden and the score's or position's.
SMALL_REACH = 3 + 4 + 4 + 5 * 8 + 2 * 8


def traced(network):
    return trace(network.eval(), {})


@pytest.mark.parametrize(
    ("config", "reach"),
    [
        (BASE, BASE_REACH),
        (SMALL, SMALL_REACH),
        (replace(SMALL, head_kernel=1), SMALL_REACH - 8),
        # In the network as it is the descriptor looks less far than score and position.
        (replace(SMALL, head_kernel=1, descriptor_kernel=3), SMALL_REACH),
        # One window and one 1x1 for each block, or a whole 3x3: the same rows.
        (replace(SMALL, separable=False), SMALL_REACH),
        (replace(SMALL, shared_hidden=True), SMALL_REACH),
        # Two rows of the finer map read one of the coarse: a bound for the lower one is
        # 4 rows too many for the upper one.
        (
            replace(SMALL, descriptor_stride=4, descriptor_kernel=3),
            SMALL_REACH + 4,
        ),
        # Kernels of 3 at 1, from 1 to 2 and from 2 to 4 in place of one of 7.
        (
            replace(SMALL, stages=((16,), (24,), *SMALL.stages[2:])),
            SMALL_REACH - 3 + 1 + 1 + 2,
        ),
        # A kernel of 7, one that leads from 4 to 8, and the hidden one.
        (replace(SMALL, stages=((), (), (16,), (32,)), head_kernel=1), 3 + 4 + 8),
    ],
)
def test_the_reach_is_the_one_that_is_counted_by_hand(config, reach):
    torch.manual_seed(0)
    assert find_reach(traced(UnsuperPoint(config))) == reach


def test_of_the_bundled_model(root):
    assert find_reach(onnx.load(root / "models" / "small.onnx")) == SMALL_REACH


class LooksEverywhere(UnsuperPoint):
    """The mean of the whole image goes into every cell."""

    def from_normalized(self, x):
        return super().from_normalized(x - x.mean(dim=(2, 3), keepdim=True))


class KnowsItsRow(UnsuperPoint):
    """Each pixel is told in which row it is."""

    def from_normalized(self, x):
        rows = torch.arange(x.shape[2]).float()
        return super().from_normalized(x + rows[:, None] / 100)


class LooksUp(UnsuperPoint):
    """By a node that is known, along an axis that it should not be used on."""

    def from_normalized(self, x):
        return super().from_normalized(torch.cat((x[:, :, :8], x[:, :, :-8]), dim=2))


class Coarse(UnsuperPoint):
    """Cells of 16 in between, on which not every strip begins."""

    def from_normalized(self, x):
        maps = super().from_normalized(x)
        coarse = F.pixel_shuffle(F.max_pool2d(maps.descriptor_map, 2), 2)
        return maps._replace(descriptor_map=coarse)


@pytest.mark.parametrize("kind", [LooksEverywhere, KnowsItsRow, LooksUp, Coarse])
def test_a_network_that_strips_would_change_has_no_reach(kind, root):
    """With trained weights: random ones let next to nothing through so many layers."""
    trained, _ = load_weights(root / "models" / "small.safetensors")
    network = kind(trained.config)
    network.load_state_dict(trained.state_dict())
    assert find_reach(traced(network)) is None


def test_a_graph_of_one_size_needs_none(tmp_path):
    path = tmp_path / "fixed.onnx"
    export_variant("small", path, Variant("dense", size=(640, 480)))
    assert find_reach(load_graph(path)) is None


def test_what_is_exported_says_its_reach(tmp_path, root):
    half = tmp_path / "half.onnx"
    export_variant("small", half, Variant("dense", fp16=True))
    assert read_metadata(load_graph(half))["reach"] == str(SMALL_REACH)
    weights = root / "models" / "small.safetensors"
    target, _ = export(weights, tmp_path / "out", "3", root / "examples")
    assert read_metadata(load_graph(target))["reach"] == str(SMALL_REACH)
    assert json.loads(target.with_suffix(".json").read_text())["version"] == "3"
