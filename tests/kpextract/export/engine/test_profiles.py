"""Which shapes an engine is built for, and which are refused."""

import pytest
from onnx import TensorProto, helper

from kpextract.cli import main
from kpextract.errors import InvalidOptionError
from kpextract.export.engine.profiles import Shapes, Sizes, input_shapes


def graph(batch, height, width):
    """Inputs of an exported model; a name is a free length."""
    shape = (batch, height, width)
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, [*shape, 3])
    mask = helper.make_tensor_value_info("mask", TensorProto.UINT8, shape)
    return helper.make_model(helper.make_graph([], "graph", [image, mask], []))


def test_limits_of_every_input():
    sizes = Sizes((640, 480), (320, 240), (1280, 960), (1, 8))
    image = Shapes([1, 240, 320, 3], [8, 480, 640, 3], [8, 960, 1280, 3])
    assert input_shapes(graph("batch", "height", "width"), sizes) == {
        "image": image,
        "mask": Shapes(*(shape[:3] for shape in image)),
    }


def test_one_image_of_one_size_where_no_more_is_said():
    shapes = input_shapes(graph("batch", "height", "width"), Sizes((640, 480)))
    assert shapes["image"] == Shapes(*[[1, 480, 640, 3]] * 3)


def test_what_the_graph_fixes_need_not_be_said():
    shapes = input_shapes(graph(2, 480, 640), Sizes())
    assert shapes["image"] == Shapes(*[[2, 480, 640, 3]] * 3)
    assert input_shapes(graph(2, 480, 640), Sizes((640, 480), batch=(2, 2))) == shapes


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (Sizes((320, 480)), "takes only width 640, but --size requests 320 to 320"),
        (
            Sizes((640, 480), max_size=(640, 960)),
            "only height 480, .* requests 480 to 960",
        ),
        (Sizes(batch=(1, 2)), "takes only batch 2, but --batch requests 1 to 2"),
    ],
)
def test_a_fixed_shape_stays(sizes, message):
    with pytest.raises(InvalidOptionError, match=message):
        input_shapes(graph(2, 480, 640), sizes)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--size=640", "a size is like 640x480, not '640'"),
        ("--max-size=640x", "a size is like 640x480, not '640x'"),
        ("--batch=1:", "a batch is like 4 or 1:8, not '1:'"),
        ("--batch=many", "a batch is like 4 or 1:8, not 'many'"),
    ],
)
def test_options_that_do_not_read(option, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["build", "small", "-o", "small.engine", option])
    assert message in capsys.readouterr().err
