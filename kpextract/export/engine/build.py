"""Build an exported ONNX model into an engine with its sidecar."""

import os
from pathlib import Path
from types import ModuleType

import onnx

from kpextract.backends.trt_package import import_tensorrt
from kpextract.cards import EngineCard
from kpextract.errors import InvalidOptionError
from kpextract.export.artifact import refuse_existing, write_model
from kpextract.export.engine.plan import BuildOptions, build_plan
from kpextract.export.engine.profiles import Shapes, Sizes, input_shapes
from kpextract.export.engine.target_gpu import gpu_facts
from kpextract.export.graph.metadata import REFINEMENT, parse_graph, read_metadata
from kpextract.files import digest
from kpextract.image import STRIDE
from kpextract.modelfile import ENGINE, ModelFile, find_model, sidecar_path


def build(
    model: str | Path,
    out: Path,
    *,
    package: str = "auto",
    sizes: Sizes | None = None,
    options: BuildOptions | None = None,
    force: bool = False,
) -> EngineCard:
    """Write the engine `out` and its sidecar beside it.

    Args:
        model: bundled name, or path of an `.onnx` file that kpextract exported.
        out: `<name>.engine`: the pure plan, which trtexec and C++ load as well.
        package: "auto", "tensorrt" or "tensorrt_rtx".

    Returns:
        What the sidecar says.

    Raises:
        MissingPackageError: the package is not installed.
        ModelError: the model is missing or corrupt.
        InvalidOptionError: shapes or options that cannot be met.
        ExportError: kpextract did not write the model, or TensorRT cannot build it.
        FileExistsError: a file exists and `force` is not given.
    """
    sizes, options = sizes or Sizes(), options or BuildOptions()
    if out.suffix != ENGINE:
        raise InvalidOptionError(
            f"an engine's file name must end in {ENGINE}, got {out}."
        )
    refuse_existing([out, sidecar_path(out)], force)
    found = find_model(model)
    _check_timing_cache(options.timing_cache, [found.path, out, sidecar_path(out)])
    graph = parse_graph(found.content, found.path)
    shapes = input_shapes(graph, sizes)
    trt = import_tensorrt(package)
    # TensorRT measures on the GPU at hand; TensorRT-RTX compiles at load.
    gpu = gpu_facts() if trt.__name__ == "tensorrt" else None
    plan = build_plan(trt, graph, shapes, options)
    card = _card(found, graph, shapes, plan, trt, gpu, options)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_model(out, plan, card)
    return card


def _check_timing_cache(cache: Path | None, others: list[Path]) -> None:
    """Raise if the cache, which is written, has the name of another file in use."""
    if cache is None:
        return
    for other in others:
        if os.path.realpath(cache) == os.path.realpath(other):
            raise InvalidOptionError(
                f"timing cache {cache} is the model or the engine itself, which would "
                "be lost. Give another name, such as small.cache."
            )


def _card(
    found: ModelFile,
    graph: onnx.ModelProto,
    shapes: dict[str, Shapes],
    plan: bytes,
    trt: ModuleType,
    gpu: dict[str, str] | None,
    options: BuildOptions,
) -> EngineCard:
    """Return the facts about a plan of a graph."""
    metadata = read_metadata(graph)
    outputs = {tensor.name: _shape(tensor) for tensor in graph.graph.output}
    sparse = metadata["kind"] == "sparse"
    return EngineCard(
        sha256=digest(plan),
        name=metadata["name"],
        version=metadata["version"],
        kind=metadata["kind"],
        license=metadata["license"],
        precision=metadata.get("precision", "float32"),
        stride=STRIDE,
        descriptor_dim=outputs["descriptors"][2]
        if sparse
        else outputs["descriptor_map"][1],
        max_keypoints=outputs["scores"][1] if sparse else None,
        mask="mask" in shapes,
        refinement=metadata.get(REFINEMENT),
        inputs={
            tensor.name: {"dtype": _dtype(tensor)} | shapes[tensor.name]._asdict()
            for tensor in graph.graph.input
        },
        outputs={
            tensor.name: {"dtype": _dtype(tensor), "shape": outputs[tensor.name]}
            for tensor in graph.graph.output
        },
        model=found.path.name,
        model_sha256=found.sha256,
        weights_sha256=metadata["sha256"],
        tensorrt={"package": trt.__name__, "version": trt.__version__},
        gpu=gpu,
        hardware_compatible=options.hardware_compatible or gpu is None,
        dla=options.dla,
    )


def _dtype(tensor: onnx.ValueInfoProto) -> str:
    """Return NumPy's name of the element type."""
    element = tensor.type.tensor_type.elem_type
    return onnx.helper.tensor_dtype_to_np_dtype(element).name


def _shape(tensor: onnx.ValueInfoProto) -> list[int]:
    """Return the shape, -1 where it depends on the input's."""
    return [dim.dim_value or -1 for dim in tensor.type.tensor_type.shape.dim]
