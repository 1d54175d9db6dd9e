"""Test `kpextract doctor` and its parsers."""

import json
import stat

import pytest

from kpextract.backends import backend_status
from kpextract.cli import main
from kpextract.cli.doctor import describe
from kpextract.system import gpu, inventory
from kpextract.system.probe import Probe, attempt
from kpextract.system.programs import NoAnswerError, output

# In the format of the tools.
L4T_ORIN = (
    "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, "
    "EABI: aarch64, DATE: Wed Jan  8 01:49:37 UTC 2025\n"
    "# KERNEL_VARIANT: oot\nTARGET_USERSPACE_LIB_DIR=nvidia\n"
)
NVPMODEL = "NV Fan Mode:quiet\nNV Power Mode: MAXN_SUPER\n2\n"
NVCC = (
    "nvcc: NVIDIA (R) Cuda compiler driver\nBuilt on Wed_Aug_14_10:14:07_PDT_2024\n"
    "Cuda compilation tools, release 12.6, V12.6.68\n"
)
SMI_HEAD = (
    "+-----------------------------------------------------------------+\n"
    "| NVIDIA-SMI 550.54.15   Driver Version: 550.54.15   CUDA Version: 12.4 |\n"
)
SMI_TWO = (
    "NVIDIA H200, 9.0, 550.54.15, 143771 MiB\n"
    "NVIDIA GeForce RTX 4090, 8.9, 550.54.15, 24564 MiB\n"
)
SMI_ORIN = "Orin (nvgpu), 8.7, 540.4.0, [N/A]\n"


@pytest.mark.parametrize(
    ("parse", "text", "expected"),
    [
        (gpu.parse_l4t, L4T_ORIN, "36.4.3"),
        (gpu.parse_l4t, "# R38 (release), REVISION: 2.0, GCID: 1", "38.2.0"),
        (gpu.parse_jetpack, "6.2+b77", "6.2"),
        (gpu.parse_jetpack, "6.2.1+b38", "6.2.1"),
        (gpu.parse_power_mode, NVPMODEL, "MAXN_SUPER"),
        (gpu.parse_power_mode, "NV Power Mode: 15W\n0\n", "15W"),
        (gpu.parse_nvcc, NVCC, "12.6"),
        (gpu.parse_cuda_of_driver, SMI_HEAD, "12.4"),
        (gpu.parse_cuda_of_driver, "| CUDA UMD Version: 13.0  |", "13.0"),
    ],
)
def test_versions_are_parsed_from_the_tools_output(parse, text, expected):
    assert parse(text) == expected


def test_every_gpu_is_read_and_missing_facts_are_none():
    first, second = gpu.parse_gpus(SMI_TWO)
    assert first == {
        "name": "NVIDIA H200",
        "compute_capability": "9.0",
        "driver": "550.54.15",
        "memory": "143771 MiB",
    }
    assert second["compute_capability"] == "8.9"
    (orin,) = gpu.parse_gpus(SMI_ORIN)
    assert orin["name"] == "Orin (nvgpu)"
    assert orin["memory"] is None


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (gpu.parse_l4t, "", "unexpected output of nv_tegra_release: ''"),
        (gpu.parse_jetpack, "", "unexpected output of dpkg-query"),
        (
            gpu.parse_power_mode,
            "NVPM ERROR: x",
            "unexpected output of nvpmodel: .*NVPM ERROR: x",
        ),
        (gpu.parse_gpus, "", "lists no GPU"),
        (gpu.parse_gpus, "No devices were found\n", "No devices were found"),
    ],
)
def test_unexpected_output_is_quoted(parse, text, message):
    with pytest.raises(NoAnswerError, match=message):
        parse(text)


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """Put a program on PATH that prints a text and exits with a code."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def write(name, text, code=0):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\ncat <<'EOF'\n{text}\nEOF\nexit {code}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    return write


def test_tools_on_the_path_are_run(tool):
    tool("nvidia-smi", SMI_ORIN)
    tool("nvpmodel", NVPMODEL)
    tool("dpkg-query", "6.2+b77")
    assert gpu.gpus()[0]["compute_capability"] == "8.7"
    assert gpu.power_mode() == "MAXN_SUPER"
    assert gpu.jetpack() == "6.2"


def test_a_failing_tool_is_explained(tool):
    tool("nvidia-smi", "first\nNVIDIA-SMI has failed to reach the driver.\n", code=9)
    with pytest.raises(NoAnswerError, match=r"^NVIDIA-SMI has failed to reach the"):
        gpu.gpus()
    with pytest.raises(NoAnswerError, match="no-such-tool is not installed"):
        output(["no-such-tool"], seconds=1)
    with pytest.raises(NoAnswerError, match=r"sleep gave no answer in 0\.1 s"):
        output(["sleep", "5"], seconds=0.1)
    with pytest.raises(NoAnswerError, match="crashed with SIGABRT"):
        output(["sh", "-c", "kill -ABRT $$"], seconds=5)


def test_on_this_machine_the_cpu_works(capfd):
    assert main(["doctor", "--json"]) == 0
    captured = capfd.readouterr()
    facts = json.loads(captured.out)
    assert captured.err == ""
    assert "runs on CPU" in facts["backends"]["onnx-cpu"]["is"]
    assert facts["providers"]["CPUExecutionProvider"]["is"].startswith("ran ")
    assert facts["modules"]["numpy"].keys() == {"is"}


def answer_probes(monkeypatch, answer):
    """Let a function answer in place of the processes of probes."""
    monkeypatch.setattr(
        Probe, "ask", lambda _, *question: attempt(lambda: answer(*question))
    )


@pytest.fixture
def answers(monkeypatch):
    """Answer for the probes and tools of a machine that has nothing."""
    answers = {
        ("backends",): {"onnx-cpu": "needs ONNX Runtime. Run: pip install x"},
    }

    def answer(*question):
        if question not in answers:
            raise NoAnswerError(f"no answer to {question}")
        return answers[question]

    answer_probes(monkeypatch, answer)
    monkeypatch.setattr(inventory, "GPU", {"gpus": lambda: answer("gpus")})
    monkeypatch.setattr(gpu, "is_jetson", lambda: False)
    return answers


def test_the_exit_code_is_1_if_nothing_works(answers, capsys):
    assert main(["doctor"]) == 1
    output = capsys.readouterr().out
    assert "backend onnx-cpu: no, needs ONNX Runtime. Run: pip install x" in output
    assert "gpus: no, no answer to ('gpus',)" in output
    assert "jetson: no" in output
    del answers["backends",]
    assert main(["doctor"]) == 1
    assert "backend all: no, no answer to ('backends',)" in capsys.readouterr().out


def test_a_jetson_with_a_provider_that_runs_part(answers, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "is_jetson", lambda: True)
    board = {"board": lambda: "NVIDIA Jetson Orin", "l4t": lambda: "36.4.3"}
    monkeypatch.setattr(inventory, "JETSON", board)
    gpus, cuda = gpu.parse_gpus(SMI_ORIN), "CUDAExecutionProvider"
    runs = {"model": "small", "version": "1", "device": "CPU", "precision": "float32"}
    answers |= {
        ("gpus",): gpus,
        ("providers",): [cuda, "TensorrtExecutionProvider"],
        ("provider", cuda): {"CPUExecutionProvider": 3, cuda: 40},
        ("provider", "TensorrtExecutionProvider"): {"CPUExecutionProvider": 43},
        ("backends",): {"onnx-cpu": "available", "tensorrt": "available (10.3.0)"},
        ("backend", "onnx-cpu"): runs,
    }
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for line in (
        "gpus: name Orin (nvgpu), compute_capability 8.7, driver 540.4.0",
        "board: NVIDIA Jetson Orin",
        "l4t: 36.4.3",
        f"{cuda}: ran 40 of 43 nodes",
        "TensorrtExecutionProvider: no, ran no node of the model; "
        "CPUExecutionProvider ran all",
        "backend onnx-cpu: small 1 runs on CPU, float32",
        "backend tensorrt: available (10.3.0)",
    ):
        assert line in lines


def test_an_installed_backend_that_does_not_run_does_not_work(answers, capsys):
    answers["backends",] = {"onnx-cpu": "available"}
    assert main(["doctor"]) == 1
    assert "backend onnx-cpu: no, no answer to" in capsys.readouterr().out


def test_two_packages_of_one_module_are_a_warning_with_the_fix(answers, monkeypatch):
    none = {name: [] for name in inventory.MODULES}
    assert inventory.conflicts(none | {"opencv": ["opencv-python 5.0"]}) == []
    both = ["onnxruntime 1.32.0", "onnxruntime-gpu 1.31.1"]
    (warning,) = inventory.conflicts(none | {"onnxruntime": both})
    assert warning.startswith("onnxruntime 1.32.0 and onnxruntime-gpu 1.31.1 overwrite")
    assert "pip uninstall -y onnxruntime onnxruntime-gpu && pip install" in warning
    monkeypatch.setattr(
        inventory, "_distributions", lambda: none | {"onnxruntime": both}
    )
    facts = inventory.examine()
    assert facts["warnings"] == [warning]
    assert f"warning: {warning}" in describe(facts)


@pytest.mark.parametrize(
    "said",
    [
        "AttributeError: _ARRAY_API not found",
        "numpy.core.multiarray failed to import",
        "<built-in function __import__> returned a result with an exception set",
    ],
)
def test_an_onnx_runtime_for_numpy_1_is_explained(said, answers, monkeypatch, capsys):
    """The wheels for JetPack 6 fail so with NumPy 2."""
    names = {name: [] for name in inventory.MODULES}
    wheel = {"onnxruntime": ["onnxruntime-gpu 1.23.0"]}
    monkeypatch.setattr(inventory, "_distributions", lambda: names | wheel)
    faults = {"onnxruntime": {"unknown": f"installed, cannot be loaded: {said}"}}

    def examined(numpy):
        found = faults | {"numpy": {"is": numpy}}
        monkeypatch.setattr(
            inventory, "_module", lambda _, name, *__: found.get(name, {"is": "1"})
        )
        return inventory.examine()["warnings"]

    (warning,) = examined("2.2.6")
    assert warning.startswith("onnxruntime-gpu 1.23.0 was built for NumPy 1, and numpy")
    assert warning.endswith('pip install "numpy<2" "opencv-python<4.12"')
    assert main(["doctor"]) == 1
    assert f"warning: {warning}" in capsys.readouterr().out
    assert examined("1.26.4") == []


@pytest.mark.parametrize("where", ["module", "provider"])
def test_a_missing_compiler_of_the_dla_is_explained(where, answers, monkeypatch):
    """In a container on JetPack 7.2, and on a Jetson without its package."""
    monkeypatch.setattr(gpu, "is_jetson", lambda: True)
    monkeypatch.setattr(inventory, "JETSON", {"l4t": lambda: "39.2.0"})
    said = "libnvdla_compiler.so: cannot open shared object file: No such file"

    def answer(question, *subject):
        if question == "providers":
            return ["TensorrtExecutionProvider"]
        if question == where and subject != ("numpy",):
            raise NoAnswerError(said)
        return "1.0" if question == "module" else {}

    answer_probes(monkeypatch, answer)
    (warning,) = inventory.examine()["warnings"]
    assert warning.startswith("TensorRT needs libnvdla_compiler.so, which JetPack 6")
    assert "JetPack 7.2" in warning


def test_an_installed_package_that_does_not_load(answers, monkeypatch):
    monkeypatch.setattr(inventory, "MODULES", {"json": ("json", "pip install json")})
    monkeypatch.setattr(inventory, "EXCLUSIVE", {})
    fact = inventory.examine()["modules"]["json"]
    assert fact["unknown"].startswith("installed, cannot be loaded: no answer to")
    monkeypatch.setattr(
        inventory, "MODULES", {"x": ("no_such_module", "pip install x")}
    )
    fact = inventory.examine()["modules"]["x"]
    assert fact == {"unknown": "not installed (pip install x)"}


RTX = {"tensorrt_rtx"}
PLAN = {
    "nothing": (set(), ['"kpextract[tensorrt]"']),
    "TensorRT-RTX alone": (RTX, ['"kpextract[cuda-python]"', "pycuda or cuda-python"]),
    "TensorRT alone": ({"tensorrt"}, ['"kpextract[cuda-python]"']),
    "bindings alone": ({"pycuda"}, ['"kpextract[tensorrt]"', "needs TensorRT, not"]),
}


@pytest.mark.parametrize("case", PLAN)
def test_only_what_is_missing_is_to_be_installed(monkeypatch, case):
    installed, expected = PLAN[case]
    monkeypatch.setattr(
        "kpextract.backends.trt.find_spec", lambda name: name in installed or None
    )
    status = backend_status()["tensorrt"]
    for text in expected:
        assert text in status
    wrong = "[cuda-python]" if "TensorRT" not in case else "[tensorrt]"
    assert wrong not in status


def test_tensorrt_rtx_with_bindings_is_available(monkeypatch):
    installed = {"tensorrt_rtx", "cuda"}
    monkeypatch.setattr(
        "kpextract.backends.trt.find_spec", lambda name: name in installed or None
    )
    assert backend_status()["tensorrt"] == "available (tensorrt_rtx, cuda)"
