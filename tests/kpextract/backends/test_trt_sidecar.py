"""An engine and its sidecar against what is here, on stand-ins."""

import shlex
import subprocess
import sys

import pytest

from kpextract import BackendUnavailableError, ModelError
from kpextract.backends import trt
from kpextract.backends.base import Batch
from kpextract.cli import _parser
from kpextract.modelfile import MODELS, ModelFile
from tests.kpextract.fakes import FakeContext
from tests.kpextract.machine import engine, images


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (
            {"tensorrt": {"package": "tensorrt", "version": "8.6.2"}},
            "was built with tensorrt 8.6.2, and 10.3.0 is here",
        ),
        (
            {"gpu": {"name": "Xavier", "compute_capability": "7.2"}},
            "was built for a GPU Xavier (compute capability 7.2), and Orin (compute "
            "capability 8.7) is here",
        ),
        (
            {"content": (MODELS / "small.onnx").read_bytes()[:-1000]},
            "cannot be loaded: Serialization assertion failed.",
        ),
    ],
)
def test_an_engine_of_elsewhere_is_refused_with_the_command(
    machine, tmp_path, changes, why
):
    with pytest.raises(ModelError) as caught:
        machine.open(**changes)
    path = tmp_path / "small.engine"
    assert str(caught.value) == (
        f"{path} {why}. Build it again: kpextract build small -o {path} --with "
        "tensorrt --size 96x64 --min-size 48x32 --batch 1:2 --force"
    )


@pytest.mark.parametrize("package", ["antigravity", "os.path", ""])
def test_a_sidecar_cannot_have_any_module_imported(machine, monkeypatch, package):
    imported = []
    monkeypatch.setattr(trt, "import_tensorrt", imported.append)
    with pytest.raises(ModelError, match="Only tensorrt and tensorrt_rtx do"):
        machine.open(tensorrt={"package": package, "version": "10.3.0"})
    assert imported == []


def test_the_command_is_one_that_kpextract_takes(machine, tmp_path):
    (tmp_path / "small.onnx").write_bytes(b"another")
    with pytest.raises(ModelError, match=r"was built from another small\.onnx") as e:
        machine.open(hardware_compatible=True, dla=1)
    words = shlex.split(str(e.value).partition("Build it again: kpextract ")[2])
    options = vars(_parser().parse_args(words))
    assert options["model"] == str(tmp_path / "small.onnx")
    assert options["out"] == tmp_path / "small.engine"
    assert (options["size"], options["min_size"]) == ((96, 64), (48, 32))
    assert (options["max_size"], options["batch"]) == (None, (1, 2))
    assert (options["hardware_compatible"], options["dla"]) == (True, 1)
    assert options["force"]
    assert options["package"] == "tensorrt"


def test_only_what_this_load_says_is_quoted(machine):
    content = (MODELS / "small.onnx").read_bytes()[:-1000]
    machine.open()
    for _ in range(2):
        with pytest.raises(ModelError) as caught:
            machine.load(engine(machine._folder, content))
        assert str(caught.value).count("Serialization assertion failed.") == 1


@pytest.mark.parametrize("changes", [{"gpu": None}, {"hardware_compatible": True}])
def test_an_engine_for_all_gpus_is_not_asked_for_its_own(machine, changes):
    if changes != {"gpu": None}:
        changes["gpu"] = {"name": "Xavier", "compute_capability": "7.2"}
    assert machine.open(**changes).info.device == "Orin"


def test_a_sidecar_of_another_engine_is_refused(machine):
    machine.open()
    other = {"image": [[1, 32, 48, 3], [2, 64, 96, 3], [4, 64, 96, 3]]}
    with pytest.raises(
        ModelError, match=r"takes .*\[2, 64, 96, 3\].* its sidecar says"
    ):
        machine.load(engine(machine._folder, profile=other))


def test_an_engine_without_its_sidecar_is_refused(machine, tmp_path):
    machine.open()
    model = ModelFile("x", tmp_path / "x.engine", b"plan", "", None)
    with pytest.raises(ModelError, match=r"lacks its sidecar x\.engine\.json"):
        machine.load(model)


@pytest.mark.parametrize("package", ["tensorrt", "tensorrt_rtx"])
def test_the_package_that_built_it_is_asked_for(machine, monkeypatch, package):
    machine.open()
    machine.trt = None
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    versions = {"package": package, "version": "1.7"}
    with pytest.raises(BackendUnavailableError, match=f"need {package}.*pip install"):
        machine.load(engine(machine._folder, tensorrt=versions))


def test_tensorrt_rtx_is_asked_whether_it_can_be_captured(machine, monkeypatch):
    machine.open()
    machine.trt.__name__ = "tensorrt_rtx"
    versions = {"package": "tensorrt_rtx", "version": "10.3.0"}
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", machine.trt)
    monkeypatch.setattr(
        FakeContext, "is_stream_capturable", lambda self, stream: False, raising=False
    )
    backend = machine.load(engine(machine._folder, tensorrt=versions, gpu=None))
    for _ in range(3):
        backend.infer(Batch(images(1)))
    assert machine.device.captures == 0


def test_importing_loads_no_cuda():
    script = (
        "import sys, kpextract, kpextract.backends.trt;"
        "from kpextract.backends import cuda_python_device, pycuda_device;"
        "heavy = {'tensorrt', 'tensorrt_rtx', 'pycuda', 'cuda', 'onnxruntime', 'onnx'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
