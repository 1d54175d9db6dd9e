"""Words on the command line, parsed and not run."""

import contextlib
import io

from kpextract import cli
from kpextract.cli.commands import COMMANDS
from tests.fuzz.invariants import check_printed
from tests.fuzz.recipe import Recipe
from tests.fuzz.targets.command_line import FILES, OPTIONS, VALUES

MORE = (
    *("--every", "--workers", "--engine", "--address", "--format", "--layout"),
    *("--descriptors", "--camera-mode", "--match", "--topic", "--frame", "--raw"),
    *("--drop", "--no-drop", "--reconnect", "--show", "--min-size", "--workspace"),
    *("--timing-cache", "--force", "--with", "--runs", "--geometry", "--help"),
)
WORDS = ("1:8", "8:", ":", "ray", "sequential:3", "640x480:bgr", "\ud800", "=", "-")


def run(recipe: Recipe) -> None:
    """Parse a few words: options with a command, or an exit with one line."""
    names = (*COMMANDS, "", "Detect", "-h", "--version")
    words = [recipe.pick(names)]
    while not recipe.ended and len(words) < 12:
        words.append(recipe.pick(recipe.pick((FILES, OPTIONS, MORE, VALUES, WORDS))))
        if not recipe.integer(0, 7):
            words[-1] += "=" + recipe.pick((*VALUES, *WORDS))
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            options, code = cli._parse(words), None
        except SystemExit as stopped:
            options, code = None, stopped.code
    if options is None:
        assert code in (0, 2)
        if code == 2:
            (line,) = errors.getvalue().splitlines()
            check_printed(line)
            assert line.startswith("kpextract")
    else:
        assert callable(options["command"])
        assert options["debug"] in (True, False)
