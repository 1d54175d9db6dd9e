"""ONNX Runtime."""

from types import ModuleType

import numpy as np

from kpextract.backends import BackendInfo
from kpextract.decode import DenseMaps
from kpextract.errors import BackendUnavailableError, ModelError
from kpextract.modelfile import ModelFile

PROVIDER = "CPUExecutionProvider"


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
    """A dense ONNX graph on the CPU, float32."""

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
        if metadata.get("kpextract.kind") != "dense":
            raise ModelError(
                f"{model.path} is not a dense kpextract model: kpextract.kind in its "
                f"metadata is {metadata.get('kpextract.kind')!r}. "
                "Give an .onnx file written by `python -m export.run`."
            )
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

    def run(self, images: np.ndarray) -> DenseMaps:
        """Dense maps of (B, H, W, 3) uint8 BGR, H and W multiples of 8."""
        return DenseMaps(*self._session.run(list(DenseMaps._fields), {"image": images}))
