"""Build an ONNX graph into a serialized plan of TensorRT or TensorRT-RTX.

One path serves every version: its package is asked what it can do. Built so far
with TensorRT-RTX only; the rest was checked against the API of each version, not run.
"""

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx

from kpextract.backends.trt_package import last_errors, shared_log
from kpextract.errors import InvalidOptionError
from kpextract.export.engine.profiles import Shapes
from kpextract.export.engine.progress import show_progress
from kpextract.export.errors import ExportError
from kpextract.files import replacing

MIB = 1 << 20
# What a builder without strong typing needs, and has: TensorRT before 9.1.
WEAK_FLAGS = {"Cast": "FP16", "QuantizeLinear": "INT8"}  # by the operator that asks
WEAK_CONSTRAINT = "OBEY_PRECISION_CONSTRAINTS"


@dataclass(frozen=True)
class BuildOptions:
    """Options of the builder.

    Attributes:
        workspace: max MiB of scratch memory per layer; None for all there is.
        dla: core of a Jetson's deep learning accelerator to run on; what it cannot
            run stays on the GPU.
        hardware_compatible: also for other GPUs than the one here, at some speed.
            Engines of TensorRT-RTX always are.
        timing_cache: file that keeps the measured times of layers between builds.
    """

    workspace: int | None = None
    dla: int | None = None
    hardware_compatible: bool = False
    timing_cache: Path | None = None


def build_plan(
    trt: ModuleType,
    model: onnx.ModelProto,
    shapes: dict[str, Shapes],
    options: BuildOptions,
) -> bytes:
    """Build the plan of a graph for the given input shapes.

    Raises:
        InvalidOptionError: an option that this package or machine does not have.
        ExportError: the graph cannot be read or built; quotes TensorRT's log.
    """
    log = shared_log(trt)
    log.errors.clear()
    builder = trt.Builder(log)
    strong = _creation_flag(trt, "STRONGLY_TYPED")
    # A DLA takes strongly typed networks only where TensorRT knows no others.
    weak = not strong or (options.dla is not None and hasattr(trt.BuilderFlag, "FP16"))
    network = builder.create_network(
        _creation_flag(trt, "EXPLICIT_BATCH") if weak else strong
    )
    _parse(trt, network, model, log)
    config = builder.create_builder_config()
    if weak:
        _keep_types(trt, network, config, model)
    _configure(trt, builder, config, options)
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    if any(-1 in tuple(tensor.shape) for tensor in inputs):
        profile = builder.create_optimization_profile()
        for name, (least, best, largest) in shapes.items():
            profile.set_shape(name, least, best, largest)
        config.add_optimization_profile(profile)
    if options.timing_cache:
        _load_timing_cache(config, options.timing_cache)
    with show_progress(trt, config):
        plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ExportError(
            f"{_title(trt)} cannot build this model: {last_errors(log)}. Build for a "
            "smaller --max-size, or export the model with fewer keypoints."
        )
    if options.timing_cache:
        _save_timing_cache(config, options.timing_cache)
    return bytes(plan)


def _title(trt: ModuleType) -> str:
    return f"{trt.__name__} {trt.__version__}"


def _creation_flag(trt: ModuleType, name: str) -> int:
    """Return the flag as `create_network` takes it; 0 if this version has none."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, name, None)
    return 0 if flag is None else 1 << int(flag)


def _parse(trt: ModuleType, network: Any, model: onnx.ModelProto, log: Any) -> None:
    """Fill the network; an error names every node that the parser refuses."""
    parser = trt.OnnxParser(network, log)
    if parser.parse(model.SerializeToString()):
        return
    lines = []
    for index in range(parser.num_errors):
        refusal = parser.get_error(index)
        where = ""
        if 0 <= refusal.node() < len(model.graph.node):
            node = model.graph.node[refusal.node()]
            where = f"node {node.name or node.output[0]!r} ({node.op_type}): "
        lines.append(where + " ".join(refusal.desc().split()))
    raise ExportError(
        f"{_title(trt)} cannot read this model: {'; '.join(lines)}. "
        "Export it again with this version of kpextract."
    )


def _keep_types(
    trt: ModuleType, network: Any, config: Any, model: onnx.ModelProto
) -> None:
    """Under weak typing, allow the types of the graph and keep its float32 layers.

    Left alone, the builder may take any layer down to float16, positions as well.
    """
    half = onnx.TensorProto.FLOAT16
    for node in model.graph.node:
        casts = [entry.i for entry in node.attribute if entry.name == "to"]
        if node.op_type in WEAK_FLAGS and (not casts or half in casts):
            flag = getattr(trt.BuilderFlag, WEAK_FLAGS[node.op_type])
            config.set_flag(flag)
    config.set_flag(getattr(trt.BuilderFlag, WEAK_CONSTRAINT))
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        for output in range(layer.num_outputs):
            if layer.get_output(output).dtype == trt.float32:
                layer.precision = trt.float32
                layer.set_output_type(output, trt.float32)


def _configure(
    trt: ModuleType, builder: Any, config: Any, options: BuildOptions
) -> None:
    """Apply the user's options; one that cannot be met is an error."""
    # On by default: float32 convolutions, those of positions too, would have 10 bits.
    config.clear_flag(trt.BuilderFlag.TF32)
    if options.workspace is not None:
        if options.workspace < 1:
            raise InvalidOptionError(
                f"workspace must be at least 1 MiB, got {options.workspace}."
            )
        config.set_memory_pool_limit(
            trt.MemoryPoolType.WORKSPACE, options.workspace * MIB
        )
    if options.dla is not None:
        if not 0 <= options.dla < builder.num_DLA_cores:
            raise InvalidOptionError(
                f"DLA core {options.dla} was requested, but {_title(trt)} finds "
                f"{builder.num_DLA_cores} on this machine. Leave out --dla."
            )
        config.default_device_type = trt.DeviceType.DLA
        config.DLA_core = options.dla
        config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
    if options.hardware_compatible and trt.__name__ == "tensorrt":
        levels = getattr(trt, "HardwareCompatibilityLevel", None)
        if levels is None:
            raise InvalidOptionError(
                f"{_title(trt)} builds only for the GPU of this machine. Leave out "
                "--hardware-compatible, or install TensorRT 8.6 or newer."
            )
        config.hardware_compatibility_level = levels.AMPERE_PLUS
    if options.timing_cache and trt.__name__ == "tensorrt_rtx":
        raise InvalidOptionError(
            "tensorrt_rtx times no layers, so it has no timing cache. Leave out "
            "--timing-cache."
        )


def _load_timing_cache(config: Any, path: Path) -> None:
    content = path.read_bytes() if path.exists() else b""
    cache = config.create_timing_cache(content)
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        raise InvalidOptionError(
            f"timing cache {path} is corrupt, or from another TensorRT or GPU. Delete "
            "it, or give another name."
        )


def _save_timing_cache(config: Any, path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(bytes(config.get_timing_cache().serialize()))
