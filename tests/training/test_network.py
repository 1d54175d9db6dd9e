from dataclasses import replace

import pytest
import torch

from training.network import (
    BASE,
    CONFIGS,
    SMALL,
    UnsuperPoint,
    count_flop,
    to_pixels,
    to_relative,
)


def test_base_is_the_network_of_the_paper():
    parameters = sum(p.numel() for p in UnsuperPoint(BASE).parameters())
    assert parameters == 3_542_947
    assert count_flop(BASE, 480, 640) == pytest.approx(54.39e9, rel=1e-3)


def test_small_stays_within_its_budget():
    assert count_flop(SMALL, 480, 640) <= 4e9


def test_flop_by_hand():
    tiny = replace(SMALL, stages=((), (1,), (1,), (1,)), separable=False)
    tiny = replace(tiny, score_width=1, position_width=1, descriptor_width=1)
    tiny = replace(tiny, descriptor_dim=1, descriptor_kernel=3)
    # 16x16 image: 8x8x27 + 4x4x9 + 2x2x9 MAC in the backbone; at 2x2: three hidden
    # convolutions of 9 and outputs of 9, 18 and 9.
    mac = 64 * 27 + 16 * 9 + 4 * 9 + 4 * (27 + 9 + 18 + 9)
    assert count_flop(tiny, 16, 16) == 2 * mac


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("stride", [8, 4])
def test_shapes_of_the_maps(name, stride):
    config = replace(CONFIGS[name], descriptor_stride=stride)
    output = UnsuperPoint(config).eval()(torch.rand(2, 3, 48, 64))
    assert output.score_logits.shape == (2, 1, 6, 8)
    assert output.positions.shape == (2, 2, 6, 8)
    expected = (2, config.descriptor_dim, 48 // stride, 64 // stride)
    assert output.descriptor_map.shape == expected


def test_positions_in_pixels_by_hand():
    relative = torch.zeros(1, 2, 3, 4)
    relative[0, :, 2, 3] = torch.tensor([0.25, 0.75])
    pixels = to_pixels(relative)
    assert pixels[0, :, 2, 3].tolist() == [25.5, 21.5]
    assert pixels[0, :, 0, 0].tolist() == [-0.5, -0.5]
    torch.testing.assert_close(to_relative(pixels), relative)


@pytest.mark.parametrize("reach", [0.5, 0.875])
def test_positions_reach_as_far_as_configured(reach):
    network = UnsuperPoint(replace(SMALL, position_reach=reach)).eval()
    output_layer = network.heads.position
    with torch.no_grad():
        output_layer.weight.zero_()
        output_layer.bias[:] = torch.tensor([100.0, -100.0])  # tanh: 1 and -1
        positions = network(torch.rand(1, 3, 16, 16)).positions
    relative = to_relative(positions)
    assert relative[0, 0].unique().tolist() == pytest.approx([0.5 + reach])
    assert relative[0, 1].unique().tolist() == pytest.approx([0.5 - reach])


def test_a_reach_of_a_half_is_the_sigmoid_of_the_paper():
    z = torch.linspace(-5, 5, 11, dtype=torch.float64)
    torch.testing.assert_close(0.5 + 0.5 * torch.tanh(z), torch.sigmoid(2 * z))


def test_one_hidden_convolution_equals_three_of_the_paper():
    network = UnsuperPoint(BASE).eval()
    x = torch.randn(1, 256, 4, 5)
    heads = network.heads
    with torch.no_grad():
        apart = []
        for part, output in zip(
            range(3), (heads.score, heads.position, heads.descriptor), strict=True
        ):
            own = slice(256 * part, 256 * (part + 1))
            convolution, norm, activation = heads.hidden
            hidden = torch.nn.functional.conv2d(
                x, convolution.weight[own], convolution.bias[own], padding=1
            )
            hidden = (hidden - norm.running_mean[own, None, None]) / torch.sqrt(
                norm.running_var[own, None, None] + norm.eps
            )
            apart.append(output(activation(hidden)))
        for ours, reference in zip(heads(x), apart, strict=True):
            torch.testing.assert_close(ours, reference, atol=1e-5, rtol=1e-4)


def test_shared_heads_read_all_hidden_channels():
    config = replace(SMALL, shared_hidden=True, head_kernel=1)
    hidden = config.score_width + config.position_width + config.descriptor_width
    heads = UnsuperPoint(config).heads
    assert heads.position.weight.shape == (2, hidden, 1, 1)


def test_an_empty_stage_passes_its_stride_to_the_next():
    config = replace(SMALL, stages=((), (), (32,), (64,)))
    network = UnsuperPoint(config).eval()
    stem = network.stages[2][0][0]
    assert (stem.kernel_size, stem.stride) == ((7, 7), (4, 4))
    assert network(torch.rand(1, 3, 32, 48)).score_logits.shape == (1, 1, 4, 6)


def test_separable_blocks_are_depthwise_then_pointwise():
    config = replace(SMALL, stages=((), (), (4,), (8, 16)), separable=True)
    network = UnsuperPoint(config)
    first, second = network.stages[3]
    assert first[0].weight.shape == (8, 4, 3, 3)
    assert second[0][0].weight.shape == (8, 1, 3, 3)
    assert second[1][0].weight.shape == (16, 8, 1, 1)
    assert network.heads.hidden[0][0].weight.shape == (16, 1, 3, 3)
    assert network(torch.rand(1, 3, 16, 16)).score_logits.shape == (1, 1, 2, 2)


@pytest.mark.parametrize("stages", [((8,), (8,), (8,)), ((), (8,), (), (8,))])
def test_invalid_stages_are_rejected(stages):
    with pytest.raises(ValueError, match="strides 4 and 8"):
        replace(SMALL, stages=stages)


def test_logits_and_positions_are_float32_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        output = UnsuperPoint(SMALL)(torch.rand(2, 3, 32, 32))
    assert output.score_logits.dtype == output.positions.dtype == torch.float32
    assert output.descriptor_map.dtype == torch.bfloat16
