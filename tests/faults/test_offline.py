"""Test that no command reaches for the network or writes into the home folder."""

import os
import shutil

import pytest

from tests.faults.offline import python, under_strace, under_stub

HOME = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")
WATCHES = {"strace": under_strace, "stub": under_stub}


@pytest.fixture(params=WATCHES)
def watch(request):
    """Return a way to see calls for the network."""
    if request.param == "strace" and not shutil.which("strace"):
        pytest.skip("strace is not installed")
    return WATCHES[request.param]


@pytest.fixture
def home(tmp_path):
    """Return the environment of a new user, not of a CI service, and their folder."""
    folder = tmp_path / "home"
    folder.mkdir()
    left_out = {"CI", "ORT_DISABLE_TELEMETRY", "PYTHONPATH"}
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    # No bytecode is written: it would be under the home of some installations.
    return kept | dict.fromkeys(HOME, str(folder)), folder


@pytest.mark.parametrize("command", ["detect", "match", "track", "info", "doctor"])
def test_no_command_goes_online_or_writes_into_the_home_folder(
    root, tmp_path, home, watch, command
):
    environment, folder = home
    left, right = (
        root / "examples" / f"street-{side}.jpg" for side in ("left", "right")
    )
    words = {
        "detect": ["detect", left, "--out", tmp_path / "a.npz"],
        "match": ["match", left, right, "--json"],
        "track": ["track", left, "--out", tmp_path / "t.mp4"],
        "info": ["info"],
        "doctor": ["doctor", "--json"],
    }[command]
    done, calls = watch(python("-m", "kpextract", *words), tmp_path, environment)
    assert done.returncode == 0, done.stderr
    assert calls == []
    assert list(folder.rglob("*")) == []


CONTROL = """
import pathlib, socket
pathlib.Path.home().joinpath("written").touch()
socket.socketpair()  # AF_UNIX stays on the machine
try:
    {call}
except OSError:
    pass
"""


@pytest.mark.parametrize(
    "call",
    [
        "socket.create_connection(('127.0.0.1', 9), 1)",
        "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))",
    ],
)
def test_what_goes_online_or_writes_is_seen(tmp_path, home, watch, call):
    environment, folder = home
    command = python("-c", CONTROL.format(call=call))
    done, calls = watch(command, tmp_path, environment)
    assert done.returncode == 0, done.stderr
    assert calls
    assert list(folder.rglob("*")) == [folder / "written"]


def test_what_stays_on_the_machine_is_not_taken_for_the_network(tmp_path, home, watch):
    environment, _ = home
    done, calls = watch(
        python("-c", CONTROL.format(call="pass")), tmp_path, environment
    )
    assert done.returncode == 0, done.stderr
    assert calls == []
