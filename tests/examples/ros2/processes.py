"""Run the ROS 2 node and its peer, each in a process of its own."""

import base64
import json
import os
import queue
import signal
import subprocess
import threading
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
PACKAGE = HERE.parents[2] / "examples" / "ros2" / "kpextract_ros"
WAIT = 90  # seconds; a machine may be busy
# sensor_msgs/PointField, written down again as the definition of the message has it.
KINDS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}


def python():
    """Return the interpreter that has ROS, or None."""
    folder = os.environ.get("KPEXTRACT_ROS")
    return Path(folder) / "bin" / "python" if folder else None


def environment(profiles):
    """Return an environment that is heard by the processes of this test run only.

    Args:
        profiles: settings of Fast DDS, or None.
    """
    domain = str(os.getpid() % 100)
    local = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "ROS_DOMAIN_ID": domain}
    if profiles is not None:
        local["FASTRTPS_DEFAULT_PROFILES_FILE"] = str(profiles)
    return {**os.environ, **local, "PYTHONPATH": str(PACKAGE), "OMP_NUM_THREADS": "1"}


class Node:
    """Run the node; as a context manager, end it by Ctrl-C if it still runs."""

    def __init__(self, *arguments, profiles=None, program=None):
        """Start it.

        Args:
            program: Python code to run instead of the module.
        """
        given = ["--ros-args", *arguments] if arguments else []
        what = ["-m", "kpextract_ros.node"] if program is None else ["-c", program]
        self._process = subprocess.Popen(
            [python(), *what, *given],
            env=environment(profiles),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            self._process.kill()
            print(self._process.communicate()[0])  # pytest shows it beside the failure
        elif self._process.poll() is None:
            self.interrupt()

    def interrupt(self, number=signal.SIGINT):
        """Send a signal; return exit code and output."""
        self._process.send_signal(number)
        return self.end()

    def end(self):
        """Return exit code and output."""
        try:
            output, _ = self._process.communicate(timeout=WAIT)
        finally:
            self._process.kill()
        return self._process.returncode, output


class Peer:
    """Run peer.py, and hand it commands."""

    def __init__(self, profiles=None):
        self._process = subprocess.Popen(
            [python(), HERE / "peer.py"],
            env=environment(profiles),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answers = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put("null")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        try:
            self._process.wait(20)
        finally:
            self._process.kill()

    def __call__(self, do, **arguments):
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        return json.loads(self._answers.get(timeout=2 * WAIT))


def points_of(cloud):
    """Return the fields of a described PointCloud2 as arrays, by name."""
    data = np.frombuffer(base64.b64decode(cloud["data"]), np.uint8)
    assert not cloud["is_bigendian"]
    assert cloud["height"] == 1
    assert cloud["row_step"] == cloud["width"] * cloud["point_step"] == len(data)
    rows = data.reshape(cloud["width"], cloud["point_step"])
    found = {}
    for name, offset, kind, count in cloud["fields"]:
        dtype = np.dtype(f"<{KINDS[kind]}")
        cut = np.ascontiguousarray(rows[:, offset : offset + count * dtype.itemsize])
        values = cut.view(dtype)
        found[name] = values[:, 0] if count == 1 else values
    return found


def array_of(text, dtype, *shape):
    """Return an array that the peer wrote as text."""
    return np.frombuffer(base64.b64decode(text), dtype).reshape(shape)
