"""OpenVINO on the CPU: dense ONNX models in float32 or int8."""

from typing import Any

from kpextract.backends.base import OVERLAPPED, BackendInfo, Batch, Outputs
from kpextract.backends.graph import GraphBackend, identity_of, outputs_of
from kpextract.backends.limits import Limits
from kpextract.backends.stages import INFERENCE, Stopwatch
from kpextract.backends.strips import known_reach
from kpextract.decode import DenseMaps
from kpextract.errors import InvalidOptionError, ModelError
from kpextract.modelfile import ModelFile
from kpextract.packages import import_openvino
from kpextract.printable import one_line
from kpextract.refinement import Refinement

OPTIONS = {
    # The default is bfloat16 where the CPU has it, which fails the gate of `verify`.
    "INFERENCE_PRECISION_HINT": "f32",
    "PERFORMANCE_HINT": "LATENCY",
    "CACHE_DIR": "",  # nothing is written
}


def check(name: str) -> str:
    """Return the version of OpenVINO; see `kpextract.backends.table`."""
    return f"openvino {import_openvino(f'backend {name!r}').__version__}"


class OpenVINOBackend(GraphBackend):
    """Backend for dense ONNX graphs."""

    outputs, takes_mask = DenseMaps, False

    def __init__(self, model: ModelFile, name: str, num_threads: int | None):
        openvino = import_openvino(f"backend {name!r}")
        threads = {} if num_threads is None else {"INFERENCE_NUM_THREADS": num_threads}
        core = openvino.Core()
        try:
            graph = core.read_model(model.content)
            self._compiled = core.compile_model(graph, "CPU", OPTIONS | threads)
        except RuntimeError as error:
            raise ModelError(
                f"{model.path}: OpenVINO cannot load it as a model "
                f"({one_line(error)}). Give an .onnx file written by kpextract export."
            ) from error
        metadata = _metadata(graph)
        if outputs_of(model, metadata) is not DenseMaps:
            raise InvalidOptionError(
                f"backend {name!r} runs dense models, and {model.path} decodes by "
                "itself. Give a dense one, as the bundled ones, or backend='onnx-cpu'."
            )
        self.refinement = Refinement.from_metadata(metadata)
        self._limits = Limits.of(_sides(graph.input("image")))
        self._reach = known_reach(metadata, self._limits)
        self._idle: list[Any] = []  # infer requests; each thread in flight has its own
        self.descriptor_dim = int(_sides(graph.output("descriptor_map"))[1] or 0)
        hint = self._compiled.get_property("INFERENCE_PRECISION_HINT")
        integers = metadata.get("kpextract.precision") == "int8"
        self.info = BackendInfo(
            name,
            ", ".join(self._compiled.get_property("EXECUTION_DEVICES")),
            "int8" if integers else hint.to_dtype().name,
            identity_of(model, metadata),
        )

    def _call(self, batch: Batch, watch: Stopwatch) -> Outputs:
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        results = request.infer(batch.inputs())  # copies
        self._idle.append(request)
        watch.stop(INFERENCE)
        return DenseMaps(*(results[name] for name in DenseMaps._fields))

    def for_stream(self) -> tuple["OpenVINOBackend", int]:
        """Return itself: decoding overlaps with the network; see `Backend`."""
        return self, OVERLAPPED


open_model = OpenVINOBackend


def _metadata(graph: Any) -> dict[str, str]:
    """Return the metadata of the ONNX file."""
    if not graph.has_rt_info(["framework"]):
        return {}
    found = graph.get_rt_info(["framework"]).astype(dict)
    return {key: value.astype(str) for key, value in found.items()}


def _sides(tensor: Any) -> list[int | None]:
    """Return the shape of an input or output, None for dynamic dimensions."""
    shape = tensor.partial_shape
    return [None if side.is_dynamic else side.get_length() for side in shape]
