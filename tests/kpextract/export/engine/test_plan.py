"""Test what the builder is told, on a stand-in: nothing is built here."""

import sys
from types import SimpleNamespace

import pytest
from onnx import TensorProto, helper

from kpextract.backends.trt_package import import_tensorrt
from kpextract.errors import InvalidOptionError, MissingPackageError
from kpextract.export.engine.plan import BuildOptions, build_plan
from kpextract.export.engine.profiles import Shapes
from kpextract.export.errors import ExportError

SHAPES = {"image": Shapes([1, 4], [1, 4], [2, 4])}
HALF, FLOAT = TensorProto.FLOAT16, TensorProto.FLOAT


def model(*operators):
    """Make a chain of nodes; "Cast" is one to float16."""
    nodes, last = [], "image"
    for index, operator in enumerate(operators):
        to = {"to": HALF} if operator == "Cast" else {}
        nodes.append(helper.make_node(operator, [last], [f"{index}"], **to))
        last = f"{index}"
    return helper.make_model(helper.make_graph(nodes, "graph", [], []))


class Layer:
    """One output of the given type."""

    num_outputs = 1
    precision = None

    def __init__(self, dtype):
        self._output = SimpleNamespace(dtype=dtype)
        self.output_types = {}

    def get_output(self, index):
        return self._output

    def set_output_type(self, index, dtype):
        self.output_types[index] = dtype


class Config(SimpleNamespace):
    def __init__(self):
        super().__init__(flags=["TF32"], profiles=[], set_flag=None)
        self.set_flag, self.clear_flag = self.flags.append, self.flags.remove
        self.add_optimization_profile = self.profiles.append
        self.create_timing_cache = lambda content: content
        self.set_timing_cache = lambda cache, ignore_mismatch: cache != b"other GPU"
        self.get_timing_cache = lambda: SimpleNamespace(serialize=lambda: b"times")


class FakeTensorRT(SimpleNamespace):
    """`flags`: what its NetworkDefinitionCreationFlag has; `builder_flags`: likewise.

    `network_flags`, `config` and `layers` are for the test to look at.
    """

    def __init__(self, flags, builder_flags, plan=b"plan", **more):
        self.config, self.network_flags = Config(), None
        self.layers = [Layer("half"), Layer("float"), Layer("int")]
        super().__init__(
            __name__="tensorrt",
            __version__="0",
            float32="float",
            ILogger=type("ILogger", (), {"ERROR": 1, "INTERNAL_ERROR": 0}),
            NetworkDefinitionCreationFlag=SimpleNamespace(**flags),
            BuilderFlag=SimpleNamespace(**{name: name for name in builder_flags}),
            DeviceType=SimpleNamespace(DLA="DLA"),
            OnnxParser=lambda network, log: SimpleNamespace(parse=lambda content: True),
            Builder=lambda log: SimpleNamespace(
                create_network=self._network,
                create_builder_config=lambda: self.config,
                create_optimization_profile=self._profile,
                build_serialized_network=lambda network, config: plan,
                num_DLA_cores=2,
            ),
            **more,
        )

    def __hash__(self):
        return id(self)

    def _network(self, flags):
        self.network_flags = flags
        return SimpleNamespace(
            num_inputs=1,
            get_input=lambda index: SimpleNamespace(shape=(-1, 4)),
            num_layers=len(self.layers),
            get_layer=self.layers.__getitem__,
        )

    def _profile(self):
        shapes = {}
        return SimpleNamespace(
            shapes=shapes, set_shape=lambda name, *triple: shapes.update({name: triple})
        )


STRONG = ("TF32", "GPU_FALLBACK")
WEAK = ("FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS", *STRONG)


def tensorrt_8():
    return FakeTensorRT({"EXPLICIT_BATCH": 0}, WEAK)


def tensorrt_10():
    return FakeTensorRT({"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1}, WEAK)


def tensorrt_11():
    return FakeTensorRT({"STRONGLY_TYPED": 1}, STRONG)


@pytest.mark.parametrize("make", [tensorrt_10, tensorrt_11])
def test_strong_typing_takes_the_types_of_the_graph(make):
    trt = make()
    assert build_plan(trt, model("Cast"), SHAPES, BuildOptions()) == b"plan"
    assert trt.network_flags == 0b10
    assert trt.config.flags == []
    assert [layer.precision for layer in trt.layers] == [None, None, None]
    (profile,) = trt.config.profiles
    assert profile.shapes == {"image": ([1, 4], [1, 4], [2, 4])}


@pytest.mark.parametrize(
    ("operators", "flags"),
    [
        (["Relu"], ["OBEY_PRECISION_CONSTRAINTS"]),
        (["Cast", "Relu"], ["FP16", "OBEY_PRECISION_CONSTRAINTS"]),
        (["QuantizeLinear"], ["INT8", "OBEY_PRECISION_CONSTRAINTS"]),
    ],
)
def test_weak_typing_keeps_float32_where_the_graph_has_it(operators, flags):
    trt = tensorrt_8()
    build_plan(trt, model(*operators), SHAPES, BuildOptions())
    assert trt.network_flags == 0b1
    assert trt.config.flags == flags
    assert [layer.precision for layer in trt.layers] == [None, "float", None]
    assert [layer.output_types for layer in trt.layers] == [{}, {0: "float"}, {}]


@pytest.mark.parametrize(
    ("make", "network_flags"), [(tensorrt_8, 1), (tensorrt_10, 1), (tensorrt_11, 2)]
)
def test_a_dla_gets_the_kind_of_network_that_it_takes(make, network_flags):
    trt = make()
    build_plan(trt, model("Cast"), SHAPES, BuildOptions(dla=1))
    assert trt.network_flags == network_flags
    assert trt.config.DLA_core == 1
    assert trt.config.default_device_type == "DLA"
    assert "GPU_FALLBACK" in trt.config.flags
    with pytest.raises(InvalidOptionError, match=r"DLA core 2 .* finds 2"):
        build_plan(make(), model("Cast"), SHAPES, BuildOptions(dla=2))


def test_hardware_compatible_where_it_can_be():
    options = BuildOptions(hardware_compatible=True)
    with pytest.raises(InvalidOptionError, match="Leave out --hardware-compatible"):
        build_plan(tensorrt_8(), model("Relu"), SHAPES, options)
    trt = tensorrt_10()
    trt.HardwareCompatibilityLevel = SimpleNamespace(AMPERE_PLUS="ampere")
    build_plan(trt, model("Relu"), SHAPES, options)
    assert trt.config.hardware_compatibility_level == "ampere"


def test_the_timing_cache_is_kept_between_builds(tmp_path):
    path = tmp_path / "small.cache"
    options = BuildOptions(timing_cache=path)
    build_plan(tensorrt_10(), model("Relu"), SHAPES, options)
    assert path.read_bytes() == b"times"
    path.write_bytes(b"other GPU")
    with pytest.raises(InvalidOptionError, match="from another TensorRT or GPU"):
        build_plan(tensorrt_10(), model("Relu"), SHAPES, options)
    assert path.read_bytes() == b"other GPU"


def test_no_plan_is_an_error_even_without_a_log():
    trt = FakeTensorRT({"STRONGLY_TYPED": 1}, STRONG, plan=None)
    with pytest.raises(ExportError, match="its log holds no error"):
        build_plan(trt, model("Relu"), SHAPES, BuildOptions())


def test_a_tensorrt_that_does_not_load_is_not_passed_over(tmp_path, monkeypatch):
    (tmp_path / "tensorrt.py").write_text("raise OSError('libnvinfer.so.10 is gone')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    with pytest.raises(MissingPackageError, match=r"libnvinfer\.so\.10 is gone"):
        import_tensorrt()


def test_without_either_package_both_install_lines_are_given(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(MissingPackageError, match=r"JetPack.*trt-build"):
        import_tensorrt()
