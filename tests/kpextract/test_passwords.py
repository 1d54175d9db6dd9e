"""Test that no password reaches a message, a log or standard error."""

import subprocess
import sys

import pytest

from kpextract import InvalidOptionError, SourceError
from kpextract.passwords import without_password
from kpextract.video.reader import open_video
from kpextract.video.sources import RawFormat

MASKED = {
    "rtsp://admin:s3cret@10.0.0.2:554/h264": "rtsp://admin:***@10.0.0.2:554/h264",
    "RTSP://admin:s3cret@cam/h264": "RTSP://admin:***@cam/h264",
    "rtsp://:s3cret@cam/": "rtsp://:***@cam/",
    "http://u:s3@cr/et?@cam/x": "http://u:***@cam/x",
    "rtsp://u:12ab@cam/x": "rtsp://u:***@cam/x",
    "http://cam/video.cgi?user=admin&pwd=s3cret&rate=0": (
        "http://cam/video.cgi?user=admin&pwd=***&rate=0"
    ),
    "https://cam/x?access_token=s3cret": "https://cam/x?access_token=***",
    "rtspsrc location=rtsp://u:s3cret@cam/x ! appsink": (
        "rtspsrc location=rtsp://u:***@cam/x ! appsink"
    ),
    'rtspsrc location=rtsp://cam user-pw="s3 cret" ! appsink': (
        "rtspsrc location=rtsp://cam user-pw=*** ! appsink"
    ),
}
PLAIN = [
    "rtsp://cam:554/stream",
    "http://cam:8080/?action=stream&mail=a@b",
    "videos/pwd=x.mp4",
    "camera 0",
    "-",
]


@pytest.mark.parametrize(("given", "expected"), MASKED.items())
def test_passwords_are_hidden(given, expected):
    assert without_password(given) == expected


@pytest.mark.parametrize("text", PLAIN)
def test_other_text_is_kept(text):
    assert without_password(text) == text


@pytest.mark.parametrize("scheme", ["http", "rtsp", "HTTP"])
def test_errors_hide_the_password(scheme):
    with pytest.raises(SourceError) as raised:
        open_video(f"{scheme}://user:s3cret@127.0.0.1:9/x?pwd=s3cret", timeout=5.0)
    assert "s3cret" not in str(raised.value)
    assert "user:***@127.0.0.1:9" in str(raised.value)
    with pytest.raises(InvalidOptionError) as raised:
        open_video(f"{scheme}://user:s3cret@127.0.0.1:9/", raw=RawFormat((64, 64)))
    assert "s3cret" not in str(raised.value)


def test_the_command_prints_no_password():
    source = "rtsp://user:s3%cret@127.0.0.1:9/"
    command = [sys.executable, "-m", "kpextract", "track", source, "--timeout", "5"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "user:***@" in done.stderr
    assert "cret" not in done.stdout + done.stderr
