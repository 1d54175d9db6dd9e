"""The package as a whole: its imports, their cost, and the files in its wheel."""

import ast
import os
import shutil
import subprocess
import sys
import venv
import warnings
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
# Imports that each room, and each layer inside kpextract, is allowed.
LAYERS = [
    {"errors", "files", "natural_order", "passwords", "printable", "stopping"},
    {"packages", "cpus", "cards", "external_data", "image_headers", "options"},
    {"stream"},
    {"features", "intensity"},
    {"image", "selection", "refinement"},
    {"sampling"},
    {"decode", "modelfile"},
    {"backends"},
    {"pipeline"},
    {"feature2d"},
    {"extractor", "matching", "geometry", "draw", "photos", "formats"},
    {"matchfile"},
    {"video"},
    {"bulk"},
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
    """Return the dotted names that a file imports, optionally at the top level only."""
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
    """Long ones warn, since some ideas need the room; longer ones fail."""
    source = path.read_text()
    lengths = {path.name: (source.count("\n"), 300, 400)}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            documented = ast.get_docstring(node, clean=False) or ""
            lines = node.end_lineno - node.lineno + 1 - documented.count("\n")
            lengths[f"{path.name}: {node.name}"] = (lines, 40, 60)
    for name, (lines, long, too_long) in lengths.items():
        assert lines <= too_long, f"{name} has {lines} lines"
        if lines > long:
            warnings.warn(f"{name} has {lines} lines", stacklevel=1)


@pytest.mark.parametrize("folder", ["", "tests"])
def test_docstrings_begin_with_what_they_do(folder):
    """A docstring that begins with Of, As, Those or What leaves its verb out."""
    files = (ROOT / folder).glob("**/*.py") if folder else SOURCES
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                first = (ast.get_docstring(node) or " ").split()[:1]
                assert first not in (["Of"], ["As"], ["Those"], ["What"]), path


def test_import_is_silent_and_light():
    script = (
        "import sys; from kpextract import Extractor, match;"
        "heavy = {'torch', 'cv2', 'onnxruntime', 'onnx', 'tqdm', 'matplotlib'};"
        "print(heavy & set(sys.modules) or '')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == done.stderr == ""


@pytest.mark.parametrize(
    "arguments", [["-c", "import kpextract"], ["-m", "kpextract", "--help"]], ids=str
)
def test_what_needs_no_numpy_does_not_import_it(arguments):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    names = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines()]
    assert "kpextract.errors" in names
    assert "numpy" not in names


def test_public_names_are_imported_at_their_first_use():
    with pytest.raises(AttributeError, match="no attribute 'Extracter'"):
        kpextract.Extracter  # noqa: B018
    assert set(kpextract.__all__) <= set(dir(kpextract))
    for name in kpextract.__all__:
        assert getattr(kpextract, name).__name__ == name


def test_startup_takes_little_more_than_importing_numpy(tmp_path):
    """CPU time is compared, so that other processes do not count.

    Bytecode is cached, as it is for a user; the first run of each writes it.
    """
    script = "from kpextract import Extractor, match"
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    seconds = {"import numpy": [], script: []}
    for _ in range(8):  # alternating, so that both see the same load
        for code, times in seconds.items():
            done = subprocess.run(
                [
                    sys.executable,
                    "-c",
                    f"{code}\nimport time; print(time.process_time())",
                ],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            )
            times.append(float(done.stdout))
    assert min(seconds[script]) < 1.5 * min(seconds["import numpy"])


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
        "OutOfMemoryError",
        "BackendUnavailableError",
        "FeatureFileError",
        "SourceError",
        "MissingPackageError",
    }
    for name in kpextract.__all__:
        assert getattr(kpextract, name).__doc__


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Copy the files that git tracks, so that building does not touch the checkout."""
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
    return source


@pytest.fixture(scope="module")
def wheel(source):
    return build_wheel(source)


def build_wheel(folder):
    command = "pip wheel --no-deps --no-build-isolation -q -w dist ."
    subprocess.run([sys.executable, "-m", *command.split()], cwd=folder, check=True)
    (built,) = (folder / "dist").glob("*.whl")
    return built


def test_the_wheel_holds_runtime_models_and_export_only(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    tops = {name.split("/")[0] for name in names}
    assert tops == {"kpextract", f"kpextract-{kpextract.__version__}.dist-info"}
    code = {str(path.relative_to(RUNTIME)) for path in RUNTIME.rglob("*.py")}
    assert {f"kpextract/{name}" for name in (*code, "py.typed")} <= names
    models = {name.split("/")[-1] for name in names if "/models/" in name}
    shipped = {path.name for path in (ROOT / "models").glob("*.onnx")}
    shipped |= {path.name for path in (ROOT / "models").glob("*.json")}
    assert models == shipped | {"__init__.py", "README.md"}
    samples = {name.split("/")[-1] for name in names if "/samples/" in name}
    assert samples == {"__init__.py", "street-left.jpg", "street-right.jpg"}
    assert any(name.endswith("LICENSE") for name in names)


def test_the_wheel_is_small(wheel):
    assert wheel.stat().st_size <= 17e6


def test_the_source_distribution_builds_the_same_wheel(source, wheel, tmp_path):
    build = "import setuptools.build_meta as build; build.build_sdist('sdist')"
    command = [sys.executable, "-c", build]
    subprocess.run(command, cwd=source, capture_output=True, check=True)
    (archive,) = (source / "sdist").glob("*.tar.gz")
    shutil.unpack_archive(archive, tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    again = build_wheel(unpacked)
    names = zipfile.ZipFile(again).namelist()
    assert sorted(names) == sorted(zipfile.ZipFile(wheel).namelist())


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
    photo = ROOT / "examples" / "street-left.jpg"
    command = [environment / "bin" / "kpextract", "detect", photo, "--draw", "out.png"]
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=tmp_path, env=clean, capture_output=True, text=True, check=True
    )
    assert "1024 keypoints in" in done.stdout
    assert (tmp_path / "out.png").stat().st_size > 10_000
    subprocess.run(
        [environment / "bin" / "kpextract", "demo"], cwd=tmp_path, env=clean, check=True
    )
    assert len(list((tmp_path / "kpextract-demo").iterdir())) == 3
    script = "import kpextract, kpextract.export.artifact; print(kpextract.__file__)"
    where = [python, "-c", script]
    found = subprocess.run(
        where, cwd=tmp_path, env=clean, capture_output=True, text=True, check=True
    )
    assert str(environment) in found.stdout
