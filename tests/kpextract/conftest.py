"""Fixtures of the runtime's tests."""

import pytest

from tests.kpextract.machine import Machine


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """No call may leave a context behind."""
    machine = Machine(monkeypatch, tmp_path)
    yield machine
    device = machine.device
    assert (device.depth, device.pushed) == (0, device.popped)
