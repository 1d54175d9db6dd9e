import pytest

from benchmarks import process


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Write modules that print, fail with a message, and fail without one."""
    (tmp_path / "says.py").write_text(
        "import sys, benchmarks\nprint(sys.argv[1:], benchmarks.__file__)"
    )
    (tmp_path / "fails.py").write_text(
        "import sys\nprint('progress', 'fails: no x.', sep='\\n', file=sys.stderr)\n"
        "sys.exit(3)"
    )
    (tmp_path / "dies.py").write_text("import os\nos._exit(1)")
    monkeypatch.chdir(tmp_path)


def test_output_is_returned_and_the_checkout_is_found_from_any_directory(
    modules, monkeypatch
):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    expected = f"['1', 'a b'] {process.ROOT / 'benchmarks' / '__init__.py'}\n"
    assert process.output("says", 1, "a b") == expected


def test_pythonpath_goes_before_the_checkout(modules, tmp_path, monkeypatch):
    (tmp_path / "first" / "benchmarks").mkdir(parents=True)
    (tmp_path / "first" / "benchmarks" / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "first"))
    assert str(tmp_path / "first") in process.output("says")


@pytest.mark.parametrize(
    ("module", "message"), [("fails", "no x."), ("dies", "dies failed without output")]
)
def test_a_failure_is_its_last_line(modules, module, message):
    with pytest.raises(process.FailedError) as error:
        process.output(module)
    assert str(error.value) == message
