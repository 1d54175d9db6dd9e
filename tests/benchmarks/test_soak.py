import json

import numpy as np
import pytest

from benchmarks import soak

SIZES = ((48, 32), (40, 24))


class World:
    """A round takes 36 s on a counted clock; what the process holds is made up."""

    def __init__(self, mib=lambda n: 100.0, descriptors=9, threads=4, digests="a"):
        self.rounds, self.mib, self.digests = 0, mib, digests
        self.descriptors, self.threads = descriptors, threads

    def round(self):
        self.rounds += 1
        return self.digests[min(self.rounds, len(self.digests)) - 1], 5

    def look(self):
        held = {"descriptors": self.descriptors, "threads": self.threads}
        held = {k: v(self.rounds) if callable(v) else v for k, v in held.items()}
        return {"mib": self.mib(self.rounds)} | held

    def soak(self, minutes=60):
        return soak.soak(
            self.round, minutes, look=self.look, clock=lambda: 36.0 * self.rounds
        )


def test_an_hour_in_which_nothing_grows():
    result = World().soak()
    assert (result["rounds"], result["images"], result["minutes"]) == (100, 500, 60.0)
    assert result["memory"]["mib_per_hour"] == 0
    assert soak.faults(result) == []


def test_a_slope_is_that_of_the_line_through_what_follows_the_warm_up():
    # 0.25 MiB a round is 25 an hour; the 75 rounds after the warm-up have 74 steps.
    result = World(mib=lambda n: 100 + 0.25 * n).soak()
    assert result["memory"] == {
        "mib_after_warm_up": 106.5,
        "mib_at_end": 125.0,
        "mib_per_hour": 25.0,
        "mib_growth": 18.5,
    }
    assert soak.faults(result) == ["memory grew by 18.5 MiB, allowed are 16.0."]


def test_memory_may_grow_while_it_warms_up():
    result = World(mib=lambda n: 100 + 10 * min(n, 20)).soak()
    assert soak.faults(result) == []


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"descriptors": lambda n: 8 + n}, "descriptors grew from 34 to 108."),
        ({"threads": lambda n: 4 + (n > 50)}, "threads grew from 4 to 5."),
        ({"digests": "aab"}, "98 of 100 rounds gave other features than the first."),
    ],
)
def test_what_grows_or_changes_is_named(changes, fault):
    assert soak.faults(World(**changes).soak()) == [fault]


def test_two_rounds_are_the_least():
    assert World().soak(minutes=0)["rounds"] == 2


def test_a_round_gives_the_same_bits_again_and_other_weights_other_bits(
    extractor, tmp_path, monkeypatch
):
    monkeypatch.setattr(soak, "SIZES", SIZES)
    digest, images = soak.work(extractor, tmp_path)
    # Alone, with masks, in a batch with one more, as streams, and loaded again.
    assert images == 2 + 2 + 3 + 2 * soak.STREAMED + 2
    assert soak.work(extractor, tmp_path) == (digest, images)
    monkeypatch.setattr(soak, "texture", lambda size: np.zeros((*size[::-1], 3), "u1"))
    assert soak.work(extractor, tmp_path)[0] != digest


def test_the_command_writes_its_result_and_fails_on_growth(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(soak, "SIZES", SIZES)
    out = tmp_path / "soak.json"
    words = ["--minutes", "0.02", "--num-threads", "1", "--out", str(out)]
    assert soak.main(words) == 0
    result = json.loads(out.read_text())
    assert result["rounds_that_differ"] == 0
    assert result["faults"] == json.loads(capsys.readouterr().out)["faults"] == []
    monkeypatch.setattr(soak, "MAX_GROWTH", -1e9)
    assert soak.main(words[:4]) == 1
