"""Test what is recorded about the code behind a result."""

import subprocess

from training import provenance


def test_results_do_not_make_a_checkout_dirty(tmp_path, monkeypatch):
    """The second of two benchmarks finds the result of the first."""
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    assert provenance.checkout_commit() == "unknown"

    def git(*arguments):
        author = ("-c", "user.name=a", "-c", "user.email=a@b")
        command = ["git", *author, *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
        return done.stdout.decode().strip()

    result = tmp_path / "benchmarks" / "results" / "x.json"
    result.parent.mkdir(parents=True)
    result.write_text("1")
    code = tmp_path / "code.py"
    code.write_text("1")
    git("init")
    git("add", ".")
    git("commit", "-m", "First")
    commit = git("rev-parse", "--short", "HEAD")
    assert provenance.checkout_commit() == commit
    result.write_text("2")
    (tmp_path / "new.txt").write_text("not in the repository")
    assert provenance.checkout_commit() == commit
    code.write_text("2")
    assert provenance.checkout_commit() == f"{commit}-dirty"
