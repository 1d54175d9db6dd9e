"""The package as a whole: what it imports, what it weighs, what its wheel holds."""

import ast
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

import kpextract

ROOT = Path(__file__).resolve().parents[1]
RUNTIME = ROOT / "kpextract"
SOURCES = sorted(
    path
    for room in ("kpextract", "training", "export", "benchmarks", "examples", "docs")
    for path in (ROOT / room).rglob("*.py")
)
# What each room, and inside kpextract each layer, may import of ours.
LAYERS = [
    {"errors", "files", "stream"},
    {"packages", "cpus"},
    {"features"},
    {"image", "selection", "refinement"},
    {"decode", "modelfile"},
    {"backends"},
    {"pipeline"},
    {"extractor", "matching", "draw", "photos", "formats"},
    {"video"},
    {"export", "system"},
    {"cli"},
    {"__main__", "__pyinstaller"},
]
# Features.save and load hand over to the room that knows the file format, when called.
HANDED_OVER = {("features", "formats")}
ROOMS = {
    "kpextract": set(),
    "training": {"kpextract"},
    "training/experiments": {"kpextract", "training", "export", "benchmarks"},
    "export": {"kpextract", "training"},
    "benchmarks": {"kpextract", "training", "export"},
    "examples": {"kpextract"},
    "docs": {"kpextract"},
}


def room_of(path):
    """Return the name of the room that a file is in."""
    parts = path.relative_to(ROOT).parts
    inner = "/".join(parts[:2])
    return inner if inner in ROOMS else parts[0]


def imports_of(path, everywhere=True):
    """Dotted names that a file imports; at the top level only, if so asked."""
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if everywhere else tree.body
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_rooms_import_one_way(path):
    room = room_of(path)
    ours = {name.split(".")[0] for name in imports_of(path)} & set(ROOMS)
    assert ours - {room} <= ROOMS[room]
    if room == "kpextract":
        assert "torch" not in {name.split(".")[0] for name in imports_of(path)}


def test_layers_of_the_runtime_import_one_way():
    level = {name: depth for depth, layer in enumerate(LAYERS) for name in layer}
    for path in RUNTIME.rglob("*.py"):
        own = path.relative_to(RUNTIME).parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        for name in imports_of(path):
            parts = name.split(".")
            if parts[0] == "kpextract" and len(parts) > 1 and parts[1] in level:
                imported = parts[1]
                if imported == own or (own, imported) in HANDED_OVER:
                    continue
                assert level[imported] < level[own], f"{path}: {name}"


def test_every_module_and_room_of_the_runtime_has_its_layer():
    modules = {path.stem for path in RUNTIME.glob("*.py")}
    rooms = {path.parent.name for path in RUNTIME.glob("*/__init__.py")}
    assert modules | rooms == set().union(*LAYERS) | {"__init__"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_short(path):
    source = path.read_text()
    assert source.count("\n") <= 300
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            documented = ast.get_docstring(node, clean=False) or ""
            lines = node.end_lineno - node.lineno + 1 - documented.count("\n")
            assert lines <= 40, f"{node.name} has {lines} lines without its docstring"


def test_import_is_silent_light_and_fast():
    script = (
        "import sys, time; start = time.perf_counter(); import kpextract;"
        "seconds = time.perf_counter() - start;"
        "heavy = {'torch', 'cv2', 'onnxruntime', 'onnx', 'tqdm', 'matplotlib'};"
        "print(heavy & set(sys.modules) or '', file=sys.stderr);"
        "print(seconds, file=sys.stderr)"
    )
    seconds = []
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        )
        assert done.stdout == ""
        heavy, elapsed = done.stderr.splitlines()
        assert heavy == ""
        seconds.append(float(elapsed))
    assert min(seconds) < 0.3


def test_public_names_are_the_documented_ones():
    assert set(kpextract.__all__) == {
        "Extractor",
        "ExtractorInfo",
        "Features",
        "match",
        "matches_to_cv2",
        "KpextractError",
        "InvalidImageError",
        "InvalidOptionError",
        "ModelError",
        "BackendUnavailableError",
        "FeatureFileError",
        "SourceError",
        "MissingPackageError",
    }
    for name in kpextract.__all__:
        assert getattr(kpextract, name).__doc__


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from what git would ship, without touching the checkout."""
    source = tmp_path_factory.mktemp("source")
    files = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    for name in filter(None, files.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = "pip wheel --no-deps --no-build-isolation -q -w dist ."
    subprocess.run([sys.executable, "-m", *command.split()], cwd=source, check=True)
    (built,) = (source / "dist").glob("*.whl")
    return built


def test_the_wheel_holds_runtime_models_and_export_only(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"kpextract", f"kpextract-{kpextract.__version__}.dist-info"}
    for name in (
        "py.typed",
        "models/small.onnx",
        "models/small.json",
        "models/small.safetensors",
        *(str(path.relative_to(RUNTIME)) for path in RUNTIME.rglob("*.py")),
    ):
        assert f"kpextract/{name}" in names
    assert any(name.endswith("LICENSE") for name in names)


def test_the_wheel_runs_in_a_fresh_environment(wheel, tmp_path):
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel],
        check=True,
    )
    # The packages it depends on are those that the tests run with: no network is
    # needed.
    site = next((environment / "lib").glob("python*/site-packages"))
    dependencies = Path(sys.modules["numpy"].__file__).parents[1]
    (site / "dependencies.pth").write_text(f"{dependencies}\n")
    photo = ROOT / "examples" / "blocks.jpg"
    command = [environment / "bin" / "kpextract", "detect", photo, "--draw", "out.png"]
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=tmp_path, env=clean, capture_output=True, text=True, check=True
    )
    assert "1024 keypoints in" in done.stdout
    assert (tmp_path / "out.png").stat().st_size > 10_000
    script = "import kpextract, kpextract.export.artifact; print(kpextract.__file__)"
    where = [python, "-c", script]
    found = subprocess.run(
        where, cwd=tmp_path, env=clean, capture_output=True, text=True, check=True
    )
    assert str(environment) in found.stdout
