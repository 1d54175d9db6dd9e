"""Three decoders, one golden file: NumPy's, the graph's and the training side's."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from kpextract.decode import DenseMaps, SparseRows, decode, take
from kpextract.export.graph.decoding import append_decoding
from kpextract.features import Features
from kpextract.image import Frame
from training.network import DenseOutput
from training.objective import image_size, points_of, scores_of
from training.sampling import sample_descriptors

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text())
MAX_POSITION_ERROR = 1e-3  # pixels; both are the contract's bounds
MAX_DESCRIPTOR_ERROR = 1e-4
SIZE = (64, 48)  # width and height, pixels
FRAME = Frame(SIZE, SIZE)


@pytest.fixture(params=GOLDEN["cases"])
def case(request):
    entry = GOLDEN["cases"][request.param]
    maps = DenseMaps(*(np.array(entry[n], np.float32) for n in DenseMaps._fields))
    return maps, entry["expected"], entry["expected_with_mask"]


@pytest.fixture
def mask():
    return np.array(GOLDEN["mask"], np.uint8)


def assert_golden(features, expected):
    for name, bound in (
        ("keypoints", MAX_POSITION_ERROR),
        ("scores", MAX_DESCRIPTOR_ERROR),
        ("descriptors", MAX_DESCRIPTOR_ERROR),
    ):
        np.testing.assert_allclose(
            getattr(features, name), expected[name], rtol=0, atol=bound
        )


def test_numpy(case, mask):
    maps, plain, masked = case
    budget = GOLDEN["budget"]
    assert_golden(decode(maps, FRAME, max_keypoints=budget), plain)
    found = decode(maps, FRAME, max_keypoints=budget, mask=mask != 0)
    assert_golden(found, masked)


@pytest.mark.parametrize("fixed", [True, False])
def test_graph(case, mask, fixed, graph_of_maps, run_graph):
    maps, plain, masked = case
    dense = graph_of_maps(DenseMaps(*(a[None] for a in maps)), fixed)
    image = np.zeros((1, *mask.shape, 3), np.uint8)
    for expected, inputs in (
        (plain, {"image": image}),
        (masked, {"image": image, "mask": mask[None]}),
    ):
        has_mask = "mask" in inputs
        sparse = append_decoding(dense, GOLDEN["budget"], mask=has_mask, float16=False)
        rows = run_graph(sparse, SparseRows, inputs)
        assert_golden(take(rows.image(0), FRAME), expected)


@pytest.fixture(params=GOLDEN["cases"])
def apart_case(request):
    entry = GOLDEN["cases"][request.param]
    maps = DenseMaps(*(np.array(entry[n], np.float32) for n in DenseMaps._fields))
    return maps, entry["expected_apart"], entry["expected_apart_with_mask"]


def test_numpy_keeps_points_apart(apart_case, mask):
    maps, plain, masked = apart_case
    options = {
        "min_distance": GOLDEN["min_distance"],
        "max_keypoints": GOLDEN["budget"],
    }
    assert_golden(decode(maps, FRAME, **options), plain)
    assert_golden(decode(maps, FRAME, mask=mask != 0, **options), masked)


@pytest.mark.parametrize("fixed", [True, False])
def test_graph_keeps_points_apart(apart_case, mask, fixed, graph_of_maps, run_graph):
    maps, plain, masked = apart_case
    dense = graph_of_maps(DenseMaps(*(a[None] for a in maps)), fixed)
    inputs = {"image": np.zeros((1, *mask.shape, 3), np.uint8)}
    options = {name: GOLDEN[name] for name in ("min_distance", "crossing")}
    for has_mask, expected in ((False, plain), (True, masked)):
        sparse = append_decoding(
            dense, GOLDEN["budget"], mask=has_mask, float16=False, **options
        )
        given = inputs | ({"mask": mask[None]} if has_mask else {})
        rows = run_graph(sparse, SparseRows, given)
        assert_golden(take(rows.image(0), FRAME), expected)


def test_training_side(case):
    maps, plain, _ = case
    output = DenseOutput(*(torch.from_numpy(array)[None] for array in maps))
    height, width = image_size(output)
    last = torch.tensor([width - 1, height - 1])
    anywhere = points_of(output)
    points = anywhere.clamp(min=torch.zeros(2), max=last)
    inside = ((anywhere >= -0.5) & (anywhere < last + 0.5)).all(dim=-1)[0]
    order = output.score_logits.flatten().sort(descending=True, stable=True).indices
    order = order[inside[order]]
    best = order[: GOLDEN["budget"]]
    stride = height // output.descriptor_map.shape[-2]
    found = Features(
        keypoints=points[0, best].numpy(),
        scores=scores_of(output)[0, best].numpy(),
        descriptors=sample_descriptors(output.descriptor_map, points[:, best], stride)[
            0
        ].numpy(),
        image_size=(width, height),
    )
    assert_golden(found, plain)


def test_the_golden_file_holds_the_hard_cases():
    for entry in GOLDEN["cases"].values():
        points = np.array(entry["positions"]).reshape(2, -1).T
        assert (points < 0).any()
        assert (points > np.array(SIZE) - 1).any()
        assert (points[np.argmax(entry["score_logits"])] < np.array(SIZE) - 1).all()
        assert (points[-1] > np.array(SIZE)).all()  # ties with the best, and is outside
        first, second = entry["expected"]["scores"][:2]
        assert first == second
        assert entry["expected"] != entry["expected_with_mask"]
        for name in ("expected", "expected_with_mask"):
            apart = name.replace("expected", "expected_apart")
            assert entry[name]["keypoints"] != entry[apart]["keypoints"]
