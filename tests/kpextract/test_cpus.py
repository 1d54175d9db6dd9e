"""Test the CPU count against the files that containers have."""

import pytest

from kpextract import Extractor, InvalidOptionError, cpus
from kpextract.system import hardware


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Return a function that writes the files of a machine with eight CPUs."""
    monkeypatch.setattr(cpus, "CGROUPS", tmp_path)
    monkeypatch.setattr(cpus, "MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)

    def write(membership, **files):
        (tmp_path / "membership").write_text(membership)
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


def v1(folder, quota):
    return {
        f"{folder}/cpu.cfs_quota_us": f"{quota}\n",
        f"{folder}/cpu.cfs_period_us": "100000\n",
    }


CASES = {
    "v2, in a namespace": ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
    "v2, a share is rounded up": ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
    "v2, less than one": ("0::/\n", {"cpu.max": "20000 100000\n"}, 1),
    "v2, no quota": ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
    "v2, more than there are": ("0::/\n", {"cpu.max": "6400000 100000\n"}, 8),
    "v2, of the group around it": (
        "0::/a/b\n",
        {"a/cpu.max": "300000 100000\n", "a/b/cpu.max": "max 100000\n"},
        3,
    ),
    "v1": ("4:cpu,cpuacct:/\n1:memory:/\n", v1("cpu,cpuacct", 400000), 4),
    "v1, another mount": ("4:cpu:/\n", v1("cpu", 100000), 1),
    "v1, named as outside": ("4:cpu:/docker/1f\n", v1("cpu", 250000), 3),
    "v1, no quota": ("4:cpu:/\n", v1("cpu", -1), 8),
    "v1, of another controller": ("4:cpuset:/\n", v1("cpu", 100000), 8),
    "no cgroups": ("", {}, 8),
    "damaged": ("0::/\n", {"cpu.max": "much\n"}, 8),
}


@pytest.mark.parametrize("case", CASES)
def test_the_quota_of_a_container_is_respected(machine, case):
    membership, files, expected = CASES[case]
    machine(membership, **files)
    assert cpus.usable_cpus() == expected


def test_the_affinity_may_be_smaller_than_the_quota(machine, monkeypatch):
    machine("0::/\n", **{"cpu.max": "400000 100000\n"})
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3}, raising=False)
    assert cpus.usable_cpus() == 1


def test_the_machine_in_a_result_has_the_usable_cores(machine):
    machine("0::/\n", **{"cpu.max": "300000 100000\n"})
    assert hardware.describe(packages=())["cores"] == 3


def test_far_more_threads_than_cpus_are_refused(machine):
    machine("0::/\n", **{"cpu.max": "300000 100000\n"})
    cpus.check_threads("num_threads", 16)
    said = r"num_threads must be at most 16 here, where 3 CPUs may be used, got 500"
    with pytest.raises(InvalidOptionError, match=said):
        cpus.check_threads("num_threads", 500)
    machine("", **{"cpu.max": "max 100000"})
    cpus.check_threads("num_threads", 16)


def test_the_extractor_refuses_them_too():
    with pytest.raises(InvalidOptionError, match="num_threads must be at most"):
        Extractor(num_threads=100_000)
