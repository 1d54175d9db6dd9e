"""What the tests on a GPU share. Without a GPU each is skipped and says why.

tests/gpu/run.sh names the folder of results in KPEXTRACT_GPU: there a missing GPU or
package is a failure, and what was measured is written to figures.json.
"""

import json
import os
from pathlib import Path

import pytest

from kpextract import BackendUnavailableError

RESULTS = "KPEXTRACT_GPU"


def without(reason):
    """What cannot be checked is a failure where `run.sh` has set everything up."""
    (pytest.fail if RESULTS in os.environ else pytest.skip)(reason)


@pytest.fixture(scope="session")
def device():
    """The first GPU, through the seam."""
    from kpextract.backends.cuda import open_device

    try:
        return open_device()
    except BackendUnavailableError as error:
        without(str(error))


@pytest.fixture(scope="session", params=["tensorrt", "tensorrt_rtx"])
def package(request, device):
    """A package that runs engines on this GPU; one that does not is a finding."""
    from tests.gpu.validity import find

    finding = find(request.param)
    if not finding["runs"]:
        pytest.skip(f"finding: {finding}")
    return request.param


@pytest.fixture(scope="session")
def make_engine(package, tmp_path_factory):
    """Exports a variant and builds its engine, each once; gives the path."""
    from kpextract.export.build import build
    from kpextract.export.shapes import Sizes
    from kpextract.export.variant import Variant, export_variant

    folder, made = tmp_path_factory.mktemp(package), {}

    def make(model, variant=None, **sizes):
        key = repr((model, variant, sizes))
        if key not in made:
            # A folder each: an engine is compared with the model beside it.
            home = folder / str(len(made))
            home.mkdir()
            graph = home / "model.onnx"
            export_variant(model, graph, Variant(**(variant or {"kind": "dense"})))
            made[key] = home / "model.engine"
            build(graph, made[key], package=package, sizes=Sizes(**sizes))
        return made[key]

    return make


@pytest.fixture(scope="session")
def record():
    """Keeps a figure under a name, for figures.json."""
    figures = {}
    yield figures.__setitem__
    if RESULTS in os.environ:
        text = json.dumps(figures, indent=2) + "\n"
        (Path(os.environ[RESULTS]) / "figures.json").write_text(text)
