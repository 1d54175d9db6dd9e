"""Test how mistakes on the command line are reported, and what --help says."""

import argparse
import re
import subprocess
import sys

import pytest

from kpextract.cli import COMMANDS, _parser, main
from kpextract.errors import did_you_mean

# Their arguments are worded in the files of the commands listed here.
TRACK = ("source", "out", "mask", "drop", "reconnect", "timeout", "raw")
WORDED = ("match", "track", "export", "build", "verify", "bench", "doctor", "info")

MISTAKES = {
    "unknown option": (
        ["track", "x.mp4", "--max-keypiont", "5"],
        "kpextract track: unrecognized arguments: --max-keypiont",
        "Did you mean --max-keypoints?",
    ),
    "unknown option with a value": (
        ["info", "--jsno=1"],
        "kpextract info: unrecognized arguments: --jsno=1",
        "Did you mean --json?",
    ),
    "extra argument": (["info", "x"], "unrecognized arguments: x", "info --help"),
    "unknown command": (["trak", "0"], "invalid choice: 'trak'", "Did you mean track?"),
    "unknown choice": (
        ["bench", "--backend", "onxn-cpu"],
        "invalid choice: 'onxn-cpu'",
        "Did you mean onnx-cpu?",
    ),
    "wrong type": (
        ["track", "0", "--timeout", "soon"],
        "argument --timeout: invalid float value: 'soon'",
        "See kpextract track --help.",
    ),
    "missing argument": (
        ["build", "small"],
        "the following arguments are required: -o/--out",
        "See kpextract build --help.",
    ),
    "a password": (
        ["info", "rtsp://user:s3cret@cam/"],
        "unrecognized arguments: rtsp://user:***@cam/",
        "",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line_with_a_suggestion(case, capsys):
    arguments, *expected = MISTAKES[case]
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    for text in expected:
        assert text in error
    assert error.count("\n") == 1


def test_nothing_similar_means_no_suggestion():
    assert did_you_mean("zzz", ["track", "detect"]) == ""


@pytest.mark.parametrize("flag", ["-O", "-OO"])
def test_commands_work_without_docstrings(flag):
    for arguments in (["info"], ["track", "--help"], ["--help"]):
        command = [sys.executable, flag, "-m", "kpextract", *arguments]
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
    assert "Track keypoints through a video" in done.stdout


def test_every_command_has_help_without_docstrings():
    script = """
from kpextract.cli import COMMANDS, main
for name in COMMANDS:
    try:
        main([name, "--help"])
    except SystemExit:
        pass
"""
    command = [sys.executable, "-OO", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("example: kpextract ") == len(COMMANDS)


def test_photos_are_matched_without_docstrings(root):
    photos = [str(root / "examples" / f"street-{s}.jpg") for s in ("left", "right")]
    printed = [
        subprocess.run(
            [sys.executable, *flags, "-m", "kpextract", "match", *photos],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.rpartition(",")[0]  # without the milliseconds
        for flags in ([], ["-OO"])
    ]
    assert printed[0] == printed[1] != ""


def options_of(name):
    (commands,) = (
        action
        for action in _parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    for action in commands.choices[name]._actions:
        if action.dest not in ("help", "as_json", "debug"):
            yield action


@pytest.mark.parametrize("name", WORDED)
def test_every_option_has_a_help_text_with_its_default(name):
    for action in options_of(name):
        if name == "track" and action.dest not in TRACK:
            continue  # of add_match_options or add_extractor_options
        assert action.help, action.dest
        if action.option_strings and not action.required:
            assert "(default: " in action.help, action
        if action.option_strings and action.metavar:
            flags = {flag.strip("-") for flag in action.option_strings}
            assert action.metavar.lower() not in flags


def test_every_command_is_listed_with_a_summary(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    for name in COMMANDS:
        assert re.search(rf"^    {name} +[A-Z]\w+ ", text, re.MULTILINE), name


def test_a_closed_pipe_ends_a_command_quietly():
    command = [sys.executable, "-u", "-m", "kpextract", "info", "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        errors = process.stderr.read()
    assert (process.returncode, errors) == (141, b"")


def test_a_misspelled_model_is_guessed(capsys):
    assert main(["bench", "--model", "smal"]) == 2
    assert "'smal' is neither a bundled name" in (error := capsys.readouterr().err)
    assert "Did you mean small?" in error
