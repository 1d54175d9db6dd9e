"""Start the processes with ROS 2 from one without, and look at them."""

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import soak
from benchmarks.process import ROOT, FailedError

PACKAGE = ROOT / "examples" / "ros2" / "kpextract_ros"
PROFILES = PACKAGE / "config" / "fastdds.xml"  # room for images in color
CLOSING = 20  # seconds


class Process:
    """Run a module of `benchmarks.ros` and hand it commands."""

    def __init__(self, python: Path, module: str, *words: str):
        command = [python, "-m", f"benchmarks.ros.{module}", *words]
        path = os.pathsep.join((str(ROOT), str(PACKAGE)))
        local = {
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            "ROS_DOMAIN_ID": str(os.getpid() % 100),
            "FASTRTPS_DEFAULT_PROFILES_FILE": str(PROFILES),
        }
        self._name = module
        self._process = subprocess.Popen(
            command,
            env=os.environ | local | {"PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid
        self._answer()  # "ready"

    def __call__(self, do: str, **arguments: Any) -> Any:
        """Send a command and return its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise FailedError(
                f"the process {self._name} ended with code {self._process.wait()}; "
                "what it said is above."
            )
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(CLOSING)
        finally:
            self._process.kill()


@contextmanager
def sampling(pid: int, samples: list[soak.Sample]) -> Iterator[None]:
    """Look at a process once per second."""
    done = threading.Event()

    def look() -> None:
        started = time.monotonic()
        while not done.wait(1.0):
            seconds = time.monotonic() - started
            samples.append({"seconds": seconds} | soak.look(pid))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
