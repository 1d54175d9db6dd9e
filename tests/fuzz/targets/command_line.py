"""Words on the command line: an exit code, one line of what is wrong, no traceback."""

import contextlib
import functools
import io
import os
from pathlib import Path

import cv2

from kpextract import cli
from tests.fuzz import samples
from tests.fuzz.invariants import check_printed
from tests.fuzz.recipe import Recipe

# These are run; the other commands take too long, and only their words are parsed.
RUN = ("detect", "match", "track", "info")
COMMANDS = (*RUN, "export", "build", "verify", "bench", "doctor", "", "Detect", "-h")
FILES = ("a.png", "b.png", "text.png", "empty.png", "none.png", "photos", ".", "*.png")
OPTIONS = (
    *("--out", "--draw", "--json", "--model", "--backend", "--precision"),
    *("--max-keypoints", "--min-score", "--selection", "--max-size", "--octaves"),
    *("--min-distance", "--min-similarity", "--max-ratio", "--raw", "--timeout"),
    *("--size", "--batch", "--kind", "--fp16", "--int8", "--mask", "--dla", "-o", "--"),
    *("--intensity-range", "--upscale"),
)
VALUES = (
    *("0", "1", "-1", "7", "0.5", "nan", "inf", "-inf", "1e9", "99999999999999999999"),
    *("", " ", "x", "small", "onnx-cpu", "grid", "int8", "64x48", "0x0", "64x48:gray"),
    *("out.npz", "out.png", "out.mp4", "none/out.npz", "a.png/x.npz", "\x1b[2J", "é"),
    *("auto", "7000,9000", "9,1"),
)


def run(recipe: Recipe) -> None:
    """Run a command of a few words, in a folder with photos."""
    words = [recipe.pick(COMMANDS)]
    while not recipe.ended and len(words) < 12:
        words.append(recipe.pick(recipe.pick((FILES, OPTIONS, VALUES))))
    if words[0] not in RUN:
        words.append("--no-such-option")
    out, errors = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(_folder()) if hasattr(contextlib, "chdir") else _chdir(),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(errors),
    ):
        try:
            code = cli.main(words)
        except SystemExit as stopped:
            code = stopped.code
    check_answer(code, errors.getvalue())


def check_answer(code: object, errors: str) -> None:
    """Assert an exit code that is documented, and one line for what is wrong."""
    assert code in (0, 1, 2), (code, errors)
    assert "Traceback" not in errors
    if code == 2:
        last = errors.rstrip("\n").split("\n")[-1]
        check_printed(last)
        assert last.startswith("kpextract")


@contextlib.contextmanager
def _chdir():
    before = Path.cwd()
    os.chdir(_folder())
    try:
        yield
    finally:
        os.chdir(before)


@functools.cache
def _folder() -> Path:
    folder = samples.scratch() / "shell"
    (folder / "photos").mkdir(parents=True)
    for name in ("a.png", "b.png", "photos/c.png"):
        cv2.imwrite(str(folder / name), samples.texture(32, 48))
    (folder / "text.png").write_text("no picture")
    (folder / "empty.png").touch()
    return folder
