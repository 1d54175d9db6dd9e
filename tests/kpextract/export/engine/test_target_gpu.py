import ctypes

import pytest

from kpextract.export.engine.target_gpu import gpu_facts
from kpextract.export.errors import ExportError


class Driver:
    """Functions of libcuda, for one Orin; `status` is what cuInit answers."""

    def __init__(self, status=0):
        self.cuInit = lambda flags: status

    def cuDeviceGet(self, device, index):  # noqa: N802
        device._obj.value = index
        return 0

    def cuDeviceGetName(self, name, length, device):  # noqa: N802
        assert length == len(name)
        name.value = b"Orin"
        return 0

    def cuDeviceGetAttribute(self, value, attribute, device):  # noqa: N802
        value._obj.value = {75: 8, 76: 7}[attribute]
        return 0


def test_name_and_compute_capability(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Driver())
    assert gpu_facts() == {"name": "Orin", "compute_capability": "8.7"}


def test_without_a_gpu_the_error_says_so(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Driver(status=100))
    with pytest.raises(ExportError, match="CUDA error 100"):
        gpu_facts()


def test_without_a_driver_the_error_says_so(monkeypatch):
    def missing(name):
        raise OSError(f"{name}: no such file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(ExportError, match=r"driver .*libcuda\.so\.1: no such file"):
        gpu_facts()
