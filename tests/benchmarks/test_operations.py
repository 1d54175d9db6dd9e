import json

import onnx
import pytest
from onnx import parser

from benchmarks.operations import Floor, UncountableError, count, floor, main, total
from kpextract.export.graph.metadata import load_graph
from kpextract.export.variant import Variant
from kpextract.modelfile import bundled_models, find_model

HEAD = """<ir_version: 8, opset_import: ["" : 17]>
g (uint8[B, H, W, 3] image) => (float[B, C, h, w] out)
"""
PIXELS = """
  raw = Cast<to=1>(image)
  x = Transpose<perm=[0, 3, 1, 2]>(raw)
"""
# 3 to 4 channels, 3x3, then 4 to 2 channels, 1x1 with a stride of 2.
WEIGHTS = """<float[4, 3, 3, 3] w = {{{}}}, float[2, 4, 1, 1] v = {{{}}}>""".format(
    ", ".join(["0.5"] * 108),
    ", ".join(["0.5"] * 8),
)


def graph(body):
    return parser.parse_model(f"{HEAD}{WEIGHTS} {{ {PIXELS} {body} }}")


TWO = """
  y = Conv<pads=[1, 1, 1, 1]>(x, w)
  z = Relu(y)
  out = Conv<strides=[2, 2]>(z, v)
"""


@pytest.mark.parametrize("batch", [1, 3])
def test_two_convolutions_by_hand(batch):
    first, second = count(graph(TWO), batch, (16, 8))
    pixels = batch * 8 * 16
    assert (first.op, first.shape) == ("Conv", (batch, 4, 8, 16))
    assert first.flop == 2 * 4 * pixels * 27
    # The image has one byte per value, all else four; Relu is fused.
    assert first.traffic == 3 * pixels + 4 * 108 + 4 * 4 * pixels
    assert second.shape == (batch, 2, 4, 8)
    assert second.flop == 2 * 2 * (pixels // 4) * 4
    assert second.traffic == 4 * (4 * pixels + 8 + 2 * pixels // 4)
    assert total([first, second]) == (
        first.flop + second.flop,
        first.traffic + second.traffic,
    )


def test_a_group_sees_its_own_channels_only():
    body = "y = Conv(x, w)  out = Conv<group=2>(y, u)"
    text = f"{HEAD}{WEIGHTS}".replace("v =", "u =").replace("[2, 4, 1", "[4, 2, 1")
    model = parser.parse_model(f"{text} {{ {PIXELS} {body} }}")
    _, grouped = count(model, 1, (10, 10))
    assert grouped.flop == 2 * 4 * 64 * 2


def test_a_quantized_tensor_takes_one_byte_per_value():
    body = """
      y = Conv<pads=[1, 1, 1, 1]>(x, w)
      z = Relu(y)
      q = QuantizeLinear(z, scale, zero)
      f = DequantizeLinear(q, scale, zero)
      m = MaxPool<kernel_shape=[2, 2], strides=[2, 2]>(f)
      out = Conv(f, v)
    """
    text = f"{HEAD}{WEIGHTS[:-1]}, float scale = {{0.1}}, uint8 zero = {{0}}>"
    model = parser.parse_model(f"{text} {{ {PIXELS} {body} }}")
    first, pool, last = count(model, 1, (16, 8))
    assert first.traffic == 3 * 128 + 4 * 108 + 4 * 128
    assert pool.traffic == 4 * 128 + 4 * 4 * 32
    assert last.traffic == 4 * 128 + 4 * 8 + 4 * 2 * 128


def test_a_tensor_that_is_read_twice_is_written_once():
    body = """
      y = Conv<pads=[1, 1, 1, 1]>(x, w)
      a, b = Split<axis=1>(y)
      m = MaxPool<kernel_shape=[1, 1]>(a)
      n = MaxPool<kernel_shape=[1, 1]>(b)
      out = Add(m, n)
    """
    first, *rest = count(graph(body), 1, (16, 8))
    assert first.traffic == 3 * 128 + 4 * 108 + 4 * 4 * 128
    assert [cost.traffic for cost in rest] == [4 * (2 + 2) * 128] * 2


def test_the_floor_is_the_larger_of_the_two():
    # 2 GFLOP at 1 TFLOP/s are 2 ms; 3 MB at 1 GB/s are 3 ms.
    assert floor(2_000_000_000, 1_000_000, 1, 1) == Floor(2.0, "compute")
    assert floor(2_000_000_000, 3_000_000, 1, 1) == Floor(3.0, "memory")


@pytest.mark.parametrize("name", bundled_models())
def test_the_count_equals_that_of_pytorch_at_export(name):
    found = find_model(name)
    flop, _ = total(count(onnx.load(found.path), 1, (640, 480)))
    if filters := {"small-int8": 32, "tiny-int8": 16}.get(name):
        # Their first layer reads 8 columns in place of 7.
        flop -= 2 * filters * 3 * 7 * 120 * 160
    assert round(flop / 1e9, 3) == found.card.gflop_480x640


@pytest.fixture(scope="module")
def small(root):
    return count(load_graph(root / "models" / "small.onnx"), 2, (320, 240))


@pytest.mark.parametrize(
    ("variant", "low"),
    [
        (Variant("dense", fp16=True), 2),
        (Variant("dense", int8="onnxruntime"), 1),
        (Variant("sparse", int8="tensorrt", batch=2, size=(320, 240)), 1),
        (Variant("sparse", mask=True), 4),
    ],
)
def test_a_variant_has_the_same_operations_and_its_own_bytes(
    write, variant, low, small
):
    costs = count(load_graph(write(variant)), 2, (320, 240))
    convolutions = [cost for cost in costs if cost.op == "Conv"]
    # The first layer of int8 reads the image by twelve bytes: eight columns, not seven.
    first = convolutions[0].flop * (7 / 8 if variant.int8 == "onnxruntime" else 1)
    rest = [c.flop for c in convolutions[1:]]
    assert [first, *rest] == [c.flop for c in small if c.op == "Conv"]
    # The second layer: 32 channels of 60x80 in and out and 32 * 32 * 3 * 3 weights in
    # low precision; a bias of 32, and in int8 the scales of the weights.
    values = 2 * 2 * 32 * 60 * 80 + 32 * 32 * 9
    assert 0 < convolutions[1].traffic - low * values <= 8 * 32
    rest = {cost.op for cost in costs} - {"Conv"}
    assert ("TopK" in rest) == (variant.kind == "sparse")


def test_a_node_of_unknown_cost_is_an_error():
    model = graph("y = Conv(x, w)  out = Softmax(y)")
    with pytest.raises(UncountableError, match="the cost of Softmax is unknown"):
        count(model, 1, (16, 8))


def test_a_size_that_the_graph_does_not_take_is_an_error(write):
    model = load_graph(write(Variant("dense", size=(320, 240))))
    with pytest.raises(
        UncountableError, match="image of 240 along an axis, not of 480"
    ):
        count(model, 1, (640, 480))


def test_the_command_prints_the_table_and_the_floor(capsys, root):
    sidecar = json.loads((root / "models" / "small.json").read_text())
    machine = ["--peak-tflops", "0.1", "--bandwidth-gbs", "100"]
    assert main(["small", *machine]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[1:4] == ["Conv", "1x32x120x160", "0.181"]
    assert lines[-2].split()[:2] == ["total", str(sidecar["gflop_480x640"])]
    assert lines[-1] == "floor: 18.1555 ms, set by compute"
    assert main(["nothing.onnx"]) == 2
    assert "neither a bundled name" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["small", *machine[:2]])
    assert "needs both" in capsys.readouterr().err
