import numpy as np
import pytest
import torch

from kpextract.sampling import sample_descriptors as sample_numpy
from training.sampling import sample_descriptors, sample_map


def test_sampling_a_map_by_hand():
    dense = torch.arange(12.0).reshape(1, 1, 3, 4)
    # Entry (row 1, column 2) = 6 lies at pixel (8 * 2 + 3.5, 8 * 1 + 3.5).
    points = torch.tensor([[[19.5, 11.5], [23.5, 11.5], [19.5, 15.5], [-3.0, -3.0]]])
    sampled = sample_map(dense, points, 8)
    torch.testing.assert_close(sampled[0, :, 0], torch.tensor([6.0, 6.5, 8.0, 0.0]))


@pytest.mark.parametrize("stride", [8, 4])
def test_torch_and_numpy_sample_the_same_descriptors(stride):
    generator = np.random.default_rng(0)
    dense = generator.normal(size=(16, 48 // stride, 64 // stride)).astype(np.float32)
    points = generator.uniform(0, [63, 47], (200, 2)).astype(np.float32)
    reference = sample_descriptors(
        torch.from_numpy(dense)[None], torch.from_numpy(points)[None], stride
    )[0]
    np.testing.assert_allclose(sample_numpy(dense, points, 6), reference, atol=1e-5)


def test_descriptor_gradient_flows_to_the_positions():
    points = torch.tensor([[[10.0, 12.0]]], requires_grad=True)
    dense = torch.rand(1, 4, 4, 4)
    sample_descriptors(dense, points, 8)[..., 0].sum().backward()
    assert (points.grad != 0).all()
