"""Identify the GPU that an engine is built for."""

import ctypes

from kpextract.export.errors import ExportError

# CUdevice_attribute of the driver's header.
_MAJOR, _MINOR = 75, 76
_NAME_LENGTH = 256  # bytes


def gpu_facts() -> dict[str, str]:
    """Return name and compute capability of device 0, where TensorRT builds.

    The driver is asked, which is present wherever TensorRT builds. Not yet run on a
    GPU.

    Raises:
        ExportError: no driver or no device.
    """
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise ExportError(
            f"TensorRT needs NVIDIA's driver to build: {error}."
        ) from error
    name = ctypes.create_string_buffer(_NAME_LENGTH)
    major, minor, device = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    for status in (
        cuda.cuInit(0),
        cuda.cuDeviceGet(ctypes.byref(device), 0),
        cuda.cuDeviceGetName(name, _NAME_LENGTH, device),
        cuda.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device),
        cuda.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device),
    ):
        if status:
            raise ExportError(
                "TensorRT needs an NVIDIA GPU to build an engine, and the driver "
                f"answers with CUDA error {status}. kpextract doctor says more."
            )
    return {
        "name": name.value.decode(),
        "compute_capability": f"{major.value}.{minor.value}",
    }
