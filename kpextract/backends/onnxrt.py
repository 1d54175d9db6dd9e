"""ONNX Runtime."""

from types import ModuleType

import numpy as np

from kpextract.backends import BackendInfo
from kpextract.decode import DenseMaps, SparseRows
from kpextract.errors import BackendUnavailableError, ModelError
from kpextract.modelfile import ModelFile

PROVIDER = "CPUExecutionProvider"
OUTPUTS: dict[str, type[DenseMaps] | type[SparseRows]] = {  # by kpextract.kind
    "dense": DenseMaps,
    "sparse": SparseRows,
}


def import_onnxruntime() -> ModuleType:
    """The package, or an error with the install line."""
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendUnavailableError(
            "backend 'onnx-cpu' needs ONNX Runtime, which is not installed. "
            'Run: pip install "kpextract[cpu]" (or pip install onnxruntime).'
        ) from error
    return onnxruntime


class OnnxCpuBackend:
    """A dense or sparse ONNX graph on the CPU."""

    def __init__(self, model: ModelFile, num_threads: int | None):
        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        if num_threads is not None:
            options.intra_op_num_threads = num_threads
        try:
            self._session = onnxruntime.InferenceSession(
                model.content, options, providers=[PROVIDER]
            )
        except Exception as error:  # its exceptions share no public base class
            raise ModelError(
                f"{model.path}: ONNX Runtime cannot load it as a model ({error}). "
                "Give an .onnx file written by `python -m export.run`."
            ) from error
        self._check_provider()
        metadata = self._session.get_modelmeta().custom_metadata_map
        kind = metadata.get("kpextract.kind")
        if kind not in OUTPUTS:
            raise ModelError(
                f"{model.path} is not a kpextract model: kpextract.kind in its "
                f"metadata is {kind!r}. "
                "Give an .onnx file written by `python -m export.run`."
            )
        self._outputs = OUTPUTS[kind]
        inputs = {tensor.name for tensor in self._session.get_inputs()}
        self.takes_mask = "mask" in inputs
        version = metadata["kpextract.version"]
        self.info = BackendInfo("onnx-cpu", "CPU", "float32", version)

    def _check_provider(self) -> None:
        """ONNX Runtime may take another provider than the one asked for."""
        providers = self._session.get_providers()
        if providers[:1] != [PROVIDER]:
            raise BackendUnavailableError(
                f"backend 'onnx-cpu' asked ONNX Runtime for {PROVIDER} and got "
                f"{providers}. Reinstall it: pip install --force-reinstall onnxruntime."
            )

    def run(
        self, images: np.ndarray, masks: np.ndarray | None = None
    ) -> DenseMaps | SparseRows:
        """What the graph gives for a batch; arguments as in `Backend.run`."""
        inputs = {"image": images} | ({} if masks is None else {"mask": masks})
        arrays = self._session.run(list(self._outputs._fields), inputs)
        return self._outputs(*arrays)
