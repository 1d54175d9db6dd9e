"""Test what PyInstaller is told about kpextract."""

import runpy
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from kpextract.__pyinstaller import get_hook_dirs
from kpextract.backends.table import TABLE
from kpextract.modelfile import bundled_models


def test_pyinstaller_finds_the_hook():
    hooks = entry_points(group="pyinstaller40", name="hook-dirs")
    assert get_hook_dirs in [
        hook.load() for hook in hooks if hook.value.startswith("kpextract.")
    ]
    (folder,) = get_hook_dirs()
    assert (Path(folder) / "hook-kpextract.py").is_file()


def test_the_hook_collects_models_and_backends():
    pytest.importorskip("PyInstaller", reason="PyInstaller is not installed")
    hook = runpy.run_path(str(Path(get_hook_dirs()[0]) / "hook-kpextract.py"))
    collected = {Path(source).name for source, _ in hook["datas"]}
    assert collected >= {
        f"{name}{suffix}" for name in bundled_models() for suffix in (".onnx", ".json")
    }
    folders = {Path("kpextract/models"), Path("kpextract/samples")}
    assert {Path(target) for _, target in hook["datas"]} == folders
    assert "kpextract.cli.detect" in hook["hiddenimports"]
    assert set(hook["hiddenimports"]) >= {
        f"kpextract.backends.{row.module}" for row in TABLE.values()
    }
