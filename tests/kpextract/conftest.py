"""Fixtures of the runtime's tests."""

import onnx
import pytest

from kpextract.export.graph.receptive_field import find_reach
from kpextract.image import STRIDE
from tests.kpextract.machine import Machine


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """No call may leave a context behind."""
    machine = Machine(monkeypatch, tmp_path)
    yield machine
    device = machine.device
    assert (device.depth, device.pushed) == (0, device.popped)


@pytest.fixture(scope="session")
def border(root):
    """Pixels from the border within which `small` can tell where an image ends.

    What the network looks at around a cell, and the cell: 67 + 8.
    """
    reach = find_reach(onnx.load(root / "models" / "small.onnx"))
    assert reach is not None
    return reach + STRIDE
