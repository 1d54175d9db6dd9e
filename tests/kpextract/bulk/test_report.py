"""Reports: the facts of a store, and the page that shows them."""

import base64
import re

import cv2
import numpy as np
import pytest

from kpextract.bulk.report import ImageFacts, collect, coverage, match_graph
from kpextract.bulk.report_page import thumbnail, write_page
from kpextract.formats.store import Entry, Stamp
from tests.kpextract.bulk.stores import MemoryStore, features_of

STAMP = Stamp(1, 1)
HOSTILE = "<script>alert(1)</script>&\"'\n.jpg"


class Entries(MemoryStore):
    """A store whose images may have errors instead of features."""

    def entries(self):
        for name, found in self.features.items():
            if isinstance(found, str):
                yield Entry(name, STAMP, None, found)
            else:
                yield Entry(name, STAMP, found)


def spread(count, size=(640, 480)):
    """Return features on a diagonal of the image."""
    steps = np.linspace(0.01, 0.98, count)
    points = np.stack([steps * size[0], steps * size[1]], axis=1)
    return features_of(np.ones((count, 4)), points, size)


@pytest.fixture
def facts():
    store = Entries(
        {
            "good.jpg": spread(200),
            "poor.jpg": spread(3),
            "broken.jpg": "not an image",
            "none.jpg": spread(1)[:0],
        }
    )
    pairs = [(("good.jpg", "poor.jpg"), 7), (("good.jpg", "gone.jpg"), 5)]
    return collect(store, pairs)


def page(facts, count=10, picture=lambda image: None):
    return "".join(write_page(facts, "Title", {"model": "small 3"}, count, picture))


def test_images_are_described_in_order(facts):
    assert [image.name for image in facts.images] == [
        *("good.jpg", "poor.jpg", "broken.jpg", "none.jpg")
    ]
    assert facts.images[1] == ImageFacts(
        "poor.jpg", 3, pytest.approx(0.5), 3 / (16 * 12), 7, None
    )
    assert facts.images[2].error == "not an image"
    assert facts.images[3] == ImageFacts("none.jpg", 0, 0.0, 0.0, 0, None)


def test_the_worst_come_first(facts):
    worst = [image.name for image in facts.worst(3)]
    assert worst == ["broken.jpg", "none.jpg", "poor.jpg"]


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([[-0.5, -0.5], [39.4, 39.4]], 1 / 192),  # one cell: [-0.5, 39.5)
        ([[39.6, 0], [39.4, 0], [639, 479]], 3 / 192),
    ],
)
def test_coverage_counts_cells_of_40_pixels_at_vga(points, expected):
    assert coverage(features_of(np.ones((len(points), 2)), points)) == expected


def test_the_match_graph_is_worked_out_by_hand():
    graph = match_graph("abcde", [(("a", "b"), 4), (("c", "b"), 2), (("d", "e"), 0)])
    assert (graph.pairs, graph.connected) == (3, 2)
    assert graph.components == [3, 1, 1]
    expected = np.zeros((5, 5))
    expected[0, 1] = expected[1, 0] = 1
    expected[1, 2] = expected[2, 1] = 0.5
    np.testing.assert_array_equal(graph.weights, expected)


def test_a_large_match_graph_is_binned():
    names = [str(n) for n in range(1000)]
    graph = match_graph(names, [(("0", "999"), 3), (("1", "998"), 3)], bins=10)
    assert graph.weights.shape == (10, 10)
    assert graph.weights[0, 9] == graph.weights[9, 0] == 1
    assert graph.weights.sum() == 2


def test_names_and_errors_are_escaped():
    text = page(collect(Entries({HOSTILE: "<b>bad</b>"})))
    assert "<script" not in text
    assert "<b>bad" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp;&quot;&#x27;\\n.jpg" in text


def test_it_says_how_many_images_are_shown(facts):
    assert "2 of 4 shown" in page(facts, count=2)
    assert page(facts, count=2).count("<figure>") == 2


def test_ten_thousand_images_stay_one_small_page():
    store = Entries({f"{n}.jpg": spread(2) for n in range(10_000)})
    text = page(collect(store), 200, lambda image: thumbnail(None, spread(2)))
    assert "200 of 10000 shown" in text
    assert len(text) < 2_000_000


def test_nothing_is_loaded_from_elsewhere(facts):
    text = page(facts, picture=lambda image: thumbnail(None, spread(2)))
    links = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s]{0,5})""", text)
    assert links
    assert set(links) == {"data:"}
    assert "default-src 'none'" in text


def test_a_thumbnail_shows_the_photo_with_its_keypoints():
    photo = np.full((480, 640, 3), (10, 200, 10), np.uint8)
    uri = thumbnail(photo, features_of([[1, 0]], [[320, 240]]))
    content = base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR).astype(int)
    assert image.shape == (315, 420, 3)
    off = abs(image - (10, 200, 10)).max(axis=2)
    rows, columns = np.nonzero(off > 60)
    assert len(rows) > 4
    # (320.5, 240.5) * 0.65625 - 0.5
    assert abs(rows.mean() - 157.3) < 1
    assert abs(columns.mean() - 209.8) < 1
    assert np.ptp(rows) < 6


def test_features_without_a_photo_have_a_thumbnail_too():
    uri = thumbnail(None, spread(5, size=(100, 4000)))
    content = base64.b64decode(uri.partition(",")[2])
    assert cv2.imdecode(np.frombuffer(content, np.uint8), 1).shape == (420, 10, 3)
