"""Build the C++ example and its test programs, each variant once."""

import os

import numpy as np
import pytest

from kpextract.export.variant import Variant, export_variant
from tests.examples.building import (
    HERE,
    INSTALL,
    cmake,
    find_headers,
    missing,
    onnxruntime_headers,
    orb_version,
    pip_library,
    snippets,
)


@pytest.fixture(scope="session")
def release(tmp_path_factory):
    """Make a folder like a release of ONNX Runtime: pip's library, and headers."""
    lacking = missing()
    if lacking and "CI" not in os.environ:
        pytest.skip(f"no {', '.join(lacking)}: {INSTALL}")
    assert not lacking
    folder = tmp_path_factory.mktemp("onnxruntime")
    (folder / "include").symlink_to(onnxruntime_headers())
    (folder / "lib").mkdir()
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (folder / "lib" / name).symlink_to(pip_library())
    return folder


@pytest.fixture(scope="session")
def cuda_headers():
    """Return the folder of NVIDIA's CUDA runtime headers."""
    places = ("cuda/nvidia/*/include", "usr/local/cuda/include")
    headers = find_headers("cuda_runtime_api.h", *places)
    if headers is None and "CI" not in os.environ:
        pytest.skip("no headers of CUDA's runtime in /usr/local/cuda/include")
    assert headers is not None
    return headers


@pytest.fixture(scope="session")
def plain(release, tmp_path_factory):
    """Build the programs as a user does, with warnings as errors; return the folder."""
    folder = tmp_path_factory.mktemp("plain")
    for name, text in {**snippets(), "match_by_orb": orb_version()}.items():
        (folder / f"{name}.cpp").write_text(text)
    programs = ";".join(str(path) for path in sorted(folder.glob("*.cpp")))
    options = (f"ONNXRUNTIME_ROOT={release}", f"PROGRAMS={programs}")
    cmake(HERE / "cpp", folder / "build", *options)
    return folder / "build"


@pytest.fixture(scope="session")
def sanitized(release, tmp_path_factory):
    """Build the driver with AddressSanitizer, LeakSanitizer and UBSan."""
    build = tmp_path_factory.mktemp("sanitized")
    cmake(HERE / "cpp", build, f"ONNXRUNTIME_ROOT={release}", "SANITIZE=ON")
    return build


@pytest.fixture(scope="session")
def tensorrt(release, cuda_headers, tmp_path_factory):
    """Build the driver of the TensorRT variant, with fakes of TensorRT and CUDA."""
    build = tmp_path_factory.mktemp("tensorrt")
    options = (
        "SANITIZE=ON",
        "KPEXTRACT_TENSORRT=ON",
        f"CUDART_INCLUDE_DIR={cuda_headers}",
        f"ONNXRUNTIME_INCLUDE_DIR={release / 'include'}",
        f"ONNXRUNTIME_LIBRARY={release / 'lib' / 'libonnxruntime.so'}",
    )
    cmake(HERE / "cpp", build, *options)
    return build


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """Return a function that exports a variant once and returns its path."""
    folder = tmp_path_factory.mktemp("models")

    def export(name="small", **options):
        path = folder / f"{name}.onnx"
        if not path.exists():
            export_variant("small", path, Variant(**options))
        return path

    return export


@pytest.fixture(scope="module")
def half_mask(photo):
    """Return a mask of two regions of the street whose borders cut through cells."""
    mask = np.zeros(photo.shape[:2], np.uint8)
    mask[100:203, 50:333] = 1
    mask[300:, 501:] = 255
    return mask
