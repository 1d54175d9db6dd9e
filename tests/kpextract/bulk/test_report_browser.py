"""A browser shows a report: all pictures load, and its console stays empty.

Needs Chromium (Debian: apt-get install chromium).
"""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from kpextract.bulk.report import collect
from kpextract.bulk.report_page import POLICY, thumbnail, write_page
from tests.kpextract.bulk.test_report import HOSTILE, Entries, spread

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000"),
    *("--enable-logging=stderr", "--log-level=0", "--window-size=1000,1400"),
)
# Writes what has loaded into the page, which --dump-dom prints.
PROBE = """<script>
addEventListener("load", () => {
  const images = [...document.images].map(i => [i.naturalWidth, i.naturalHeight]);
  document.body.dataset.images = JSON.stringify(images);
});
</script></body>"""

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")


@pytest.fixture(scope="module")
def page(photo):
    store = Entries(
        {
            "street/left.jpg": spread(300),
            HOSTILE: spread(40),
            "broken.jpg": "broken.jpg: cannot be decoded",
        }
    )
    facts = collect(store, [(("street/left.jpg", HOSTILE), 35)])
    pictures = {
        "street/left.jpg": thumbnail(np.asarray(photo), spread(300)),
        HOSTILE: thumbnail(None, spread(40)),
    }
    details = {"model": "small <3>"}
    parts = write_page(facts, "Report", details, 50, lambda i: pictures.get(i.name))
    return "".join(parts)


def browse(path, tmp_path, *flags):
    """Open a page; return what Chromium printed."""
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    command = [CHROMIUM, *FLAGS, profile, *flags, path.as_uri()]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=True
    )


def test_every_picture_loads_and_nothing_else_is_wanted(page, tmp_path):
    path = tmp_path / "probe.html"
    allowed = POLICY + "; script-src 'unsafe-inline'"
    probed = page.replace(POLICY, allowed).replace("</body>", PROBE)
    path.write_text(probed, encoding="utf-8")
    shown = browse(path, tmp_path, "--dump-dom")
    (sizes,) = re.findall(r'data-images="(.*?)"', shown.stdout)
    assert json.loads(sizes) == [[3, 3], [420, 315], [420, 315]]
    assert "CONSOLE" not in shown.stderr


def test_the_page_itself_leaves_the_console_empty_and_is_drawn(page, tmp_path):
    path, picture = tmp_path / "report.html", tmp_path / "report.png"
    path.write_text(page, encoding="utf-8")
    shown = browse(path, tmp_path, f"--screenshot={picture}")
    assert "CONSOLE" not in shown.stderr
    import cv2

    image = cv2.imread(str(picture))
    assert image.shape[0] > 1000
    assert image.std() > 20


def test_what_the_console_says_would_be_seen(page, tmp_path):
    """A picture from elsewhere is refused by the page's policy, and reported."""
    path = tmp_path / "report.html"
    foreign = '<img src="https://example.invalid/x.png"></body>'
    path.write_text(page.replace("</body>", foreign), encoding="utf-8")
    shown = browse(path, tmp_path, f"--screenshot={tmp_path / 'x.png'}")
    assert "CONSOLE" in shown.stderr
