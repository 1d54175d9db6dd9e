"""Count the CPUs that this process may use, in a container too."""

import math
import os
from pathlib import Path

from kpextract.errors import InvalidOptionError

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
V1_MOUNTS = ("cpu,cpuacct", "cpu")
# More threads than CPUs only wait for each other; some more do no harm.
SPARE, FACTOR = 16, 2


def usable_cpus() -> int:
    """Return how many CPUs the affinity and the quota of this process allow."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    return min(count, quota_cpus() or count)


def quota_cpus() -> int | None:
    """Return the CPU quota of the container, rounded up; None without one.

    Reads cgroup v2 (cpu.max) and v1 (cpu.cfs_quota_us), in the group of this process
    and in those around it, of which the smallest quota holds.
    """
    quotas = [quota for folder in _groups() if (quota := _quota(folder)) is not None]
    return max(1, math.ceil(min(quotas))) if quotas else None


def check_threads(name: str, count: int) -> None:
    """Check that a number of threads makes sense on this machine.

    Raises:
        InvalidOptionError: there are far more threads than CPUs.
    """
    most = max(SPARE, FACTOR * usable_cpus())
    if count > most:
        raise InvalidOptionError(
            f"{name} must be at most {most} here, where {usable_cpus()} CPUs may be "
            f"used, got {count}. Omit it to let the runtime decide."
        )


def _groups() -> list[Path]:
    """Return the folders of the CPU cgroups that hold this process."""
    folders = [CGROUPS]
    for line in _text(MEMBERSHIP).splitlines():
        _, controllers, group = line.split(":", 2)
        if not controllers:  # v2
            folders += _upward(CGROUPS, group)
        elif "cpu" in controllers.split(","):
            for mount in V1_MOUNTS:
                folders += _upward(CGROUPS / mount, group)
    return folders


def _upward(mount: Path, group: str) -> list[Path]:
    """Return the folder of a group and of those around it.

    A container may see the name of its group outside, which is not there inside.
    """
    folder = mount / group.strip("/")
    outer = [parent for parent in folder.parents if parent.is_relative_to(mount)]
    return [folder, *outer]


def _quota(folder: Path) -> float | None:
    """Return the quota that is written in a cgroup's folder, in CPUs."""
    words = _text(folder / "cpu.max").split() or [  # v2: "max 100000"
        *_text(folder / "cpu.cfs_quota_us").split(),  # v1: -1 for none
        *_text(folder / "cpu.cfs_period_us").split(),
    ]
    if len(words) != 2 or not all(word.isdecimal() for word in words):
        return None
    quota, period = map(int, words)
    return quota / period if quota and period else None


def _text(path: Path) -> str:
    """Return the content of a file; empty if it cannot be read."""
    try:
        return path.read_text()
    except OSError:
        return ""
