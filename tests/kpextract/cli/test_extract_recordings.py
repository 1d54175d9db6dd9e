"""Run `kpextract extract` on recordings with several topics."""

import json

import pytest

from kpextract.cli import main
from kpextract.formats.table import load
from tests.kpextract.video.test_recordings import COLOR, ROS2, header, raw, write_ros2


@pytest.fixture
def drive(tmp_path):
    """Return a recording with two cameras of two images each."""
    sent = [
        (topic, time, raw(COLOR, "bgr8", stamp=time))
        for time in (7, 8)
        for topic in ("/left", "/right")
    ]
    return write_ros2(tmp_path / "drive", [*sent, ("/info", 9, header(ROS2, 9))])


def test_a_topic_must_be_chosen_before_the_work(drive, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["extract", str(drive), "-o", str(out)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "several topics of images" in line
    assert "--topic /left (there are /left, /right)" in line
    assert not out.exists()


def test_a_topic_that_is_missing_does_not_bar_another(drive, tmp_path, capsys):
    out = str(tmp_path / "out")
    command = ["extract", str(drive), "-o", out, "--workers", "1", "--topic"]
    assert main([*command, "/up", "--json"]) == 1
    said = capsys.readouterr()
    (failed,) = json.loads(said.out)["failed"]
    assert failed["name"] == "drive/up"
    assert "It has /left, /right" in said.err
    assert main([*command, "right"]) == 0  # the slash may be left out
    assert list(load(out)) == ["drive/right/7", "drive/right/8"]
