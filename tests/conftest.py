"""Fixtures for all rooms."""

import hashlib
import json
import os
import sys
from pathlib import Path

import pytest

# Tests import ONNX Runtime themselves, and must not report that to its maker.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
ROOT = Path(__file__).resolve().parents[1]
# training, export and benchmarks are not installed. Their path goes last, so that an
# installed kpextract is the one under test, not the folder next to them.
sys.path.append(str(ROOT))


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def photo():
    """Return the sample photo, (480, 640, 3) uint8 BGR."""
    import cv2

    image = cv2.imread(str(ROOT / "examples" / "street-left.jpg"))
    image.setflags(write=False)
    return image


@pytest.fixture(scope="session")
def other_photo():
    """Return a photo of the same street from the same spot, with the camera rotated."""
    import cv2

    return cv2.imread(str(ROOT / "examples" / "street-right.jpg"))


@pytest.fixture(scope="session")
def extractor():
    from kpextract import Extractor

    return Extractor()


@pytest.fixture(scope="session")
def small():
    """Return name and version of the bundled small model, as in results."""
    sidecar = json.loads((ROOT / "models" / "small.json").read_text())
    return f"small {sidecar['version']}"


@pytest.fixture(scope="session")
def write(tmp_path_factory):
    """Return a function that exports a variant once and returns its path."""
    from kpextract.export.variant import export_variant

    folder = tmp_path_factory.mktemp("variants")

    def write(variant):
        name = hashlib.sha256(repr(variant).encode()).hexdigest()
        path = folder / f"{name}.onnx"
        if not path.exists():
            photos = str(ROOT / "examples") if variant.int8 else None
            export_variant("small", path, variant, photos=photos)
        return path

    return write


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """Make a writable folder that looks like the checkout to a command.

    All tests of a file share it: a command may read what an earlier one wrote.
    """
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "examples").symlink_to(ROOT / "examples")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder
