"""Words of a command line, run where reaching for the network is told, and fails.

A stub, for where strace is missing: Python's own sockets and names, not those of C
libraries. `strace` sees both.
"""

import os
import subprocess
import sys
from pathlib import Path

NETWORK = ("AF_INET", "AF_NETLINK", "AF_PACKET")  # also AF_INET6; AF_UNIX stays here
# On the path of the child: the interpreter imports it before anything else.
SITE = """
import os, sys
def hook(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.connect",
                 "socket.sendto"):
        target = arguments[-1] if event == "socket.connect" else arguments
        if not isinstance(target, (str, bytes)):
            with open(os.environ["NETWORK_LOG"], "a") as log:
                log.write(f"{event} {arguments!r}\\n")
            raise OSError("no network in this test")
sys.addaudithook(hook)
"""


def under_strace(command, folder, environment):
    """Run a command; return what it did and its system calls that name a network."""
    log = folder / "strace"
    traced = ["strace", "-f", "-qq", "-e", "trace=network", "-o", log, *command]
    done = _run(traced, environment)
    lines = log.read_text().splitlines()
    return done, [line for line in lines if any(name in line for name in NETWORK)]


def under_stub(command, folder, environment):
    """Run a command of Python; return what it did and its calls for the network."""
    site, log = folder / "site", folder / "log"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SITE)
    log.touch()
    path = os.pathsep.join([str(site), environment.get("PYTHONPATH", "")])
    stubbed = environment | {"PYTHONPATH": path, "NETWORK_LOG": str(log)}
    return _run(command, stubbed), log.read_text().splitlines()


def _run(command, environment):
    return subprocess.run(
        list(map(str, command)),
        env=environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )


def python(*words):
    """Return the command that runs this interpreter."""
    return [sys.executable, *map(str, words)]
