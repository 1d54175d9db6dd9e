# ruff: noqa: N999  # PyInstaller looks for a file of this name
"""Collect the bundled models and photos, and the modules that are imported by name."""

from PyInstaller.utils.hooks import collect_submodules

from kpextract.cli.demo import PHOTOS
from kpextract.modelfile import MODELS

# Not collect_data_files: it misplaces the models of an editable installation.
datas = [
    (str(path), "kpextract/models")
    for suffix in (".onnx", ".json")
    for path in MODELS.glob(f"*{suffix}")
]
datas += [(str(path), "kpextract/samples") for path in PHOTOS]
hiddenimports = [
    name
    for room in ("kpextract.backends", "kpextract.cli")
    for name in collect_submodules(room)
]
