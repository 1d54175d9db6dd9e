import json

import pytest

from benchmarks import duty


class World:
    """A fake clock: a call takes 3 s, and the CPU works half of all time."""

    def __init__(self):
        self.now = 0.0

    def call(self):
        self.now += 3

    def sleep(self, seconds):
        self.now += seconds

    def busy(self):
        return self.now / 2

    def at_rate(self, rate, frames):
        return duty.at_rate(
            self.call,
            rate,
            frames,
            clock=lambda: self.now,
            busy=self.busy,
            sleep=self.sleep,
        )


@pytest.mark.parametrize(
    ("rate", "processor"),
    [
        (0.0, 1500.0),
        # A frame every 10 s: the last one is done 33 s after the start.
        (0.1, 33_000 / 2 / 4),
        # Frames come faster than calls finish, so calls run back to back.
        (1.0, 1500.0),
    ],
)
def test_times_of_a_call_and_cpu_time_of_a_frame(rate, processor):
    found = World().at_rate(rate, 4)
    assert found["milliseconds"]["p50"] == 3000.0
    assert found["processor_milliseconds"] == processor


def test_the_command_writes_both_ways_at_each_rate(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(duty, "SIZE", (96, 64))
    out = tmp_path / "duty.json"
    words = ["--rate", "0", "50", "--frames", "2", "--rounds", "2", "--out", str(out)]
    assert duty.main(words) == 0
    result = json.loads(out.read_text())
    assert [(row["rate"], row["threads"]) for row in result["rows"]] == [
        (rate, way) for rate in (0.0, 50.0) for way in duty.SPINNING
    ]
    assert all(len(row["turns"]) == 2 for row in result["rows"])
    assert capsys.readouterr().out == f"{duty.table(result)}\n"
