"""Write a report as one HTML page that needs no network and runs no script."""

import base64
from collections.abc import Callable, Iterator, Sequence
from html import escape

import numpy as np

from kpextract.bulk.report import ImageFacts, MatchGraph, StoreFacts
from kpextract.features import Features
from kpextract.packages import import_cv2
from kpextract.printable import printable

THUMBNAIL = 420  # pixels of the longer side
JPEG_QUALITY = 80
BLANK = 235  # gray of an image whose photo is not there
BARS = 20  # of a histogram
BAR, HEIGHT = 12, 80  # width of a bar and height of a histogram in pixels
PARTS = 8  # connected parts that are listed

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1360px;
  padding: 0 1rem; color: #222; background: #fff; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem; margin: 0; }
dt { color: #666; } dd { margin: 0; overflow-wrap: anywhere; }
.row { display: flex; flex-wrap: wrap; gap: 2rem; }
.grid { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); }
figure { margin: 0; border: 1px solid #ddd; border-radius: 6px; overflow: hidden; }
figure img { display: block; width: 100%; height: 225px; object-fit: contain;
  background: #f4f4f4; }
figcaption { padding: .5rem .75rem; font-size: .85rem; overflow-wrap: anywhere; }
.error { color: #a40000; } .matrix { border: 1px solid #ddd; image-rendering: pixelated;
  width: 400px; }
svg text { font: 11px system-ui, sans-serif; fill: #555; } svg rect { fill: #3b6ea5; }
"""
# The browser refuses whatever is not in the page itself.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def write_page(
    facts: StoreFacts,
    title: str,
    details: dict[str, str],
    count: int,
    picture: Callable[[ImageFacts], str | None],
) -> Iterator[str]:
    """Yield the parts of the page.

    Args:
        details: further lines of the summary by their name, such as the settings.
        count: images that are shown, the worst ones.
        picture: gives the data URI of an image's thumbnail; None for no picture.
    """
    yield (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{_text(title)}</title><style>{STYLE}</style></head><body>"
        f"<h1>{_text(title)}</h1>"
    )
    yield _summary(facts, details)
    yield _histograms(facts)
    if facts.graph:
        yield _graph(facts.graph)
    shown = facts.worst(count)
    yield (
        f"<h2>Worst images first: {len(shown)} of {len(facts.images)} shown</h2>"
        f"<p>Unreadable images first, then by {'matches, ' if facts.graph else ''}"
        'coverage, keypoints and scores.</p><div class="grid">'
    )
    for image in shown:
        yield _figure(image, picture(image))
    yield "</div></body></html>\n"


def thumbnail(photo: np.ndarray | None, features: Features) -> str:
    """Return a small JPEG of a photo with its keypoints, as a data URI.

    Dots run from red (best score) to blue (last) by rank.

    Args:
        photo: (H, W, 3) uint8 BGR in the frame of the features; None draws on gray.
    """
    cv2 = import_cv2("kpextract report")
    width, height = features.image_size
    scale = min(1.0, THUMBNAIL / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if photo is None:
        canvas = np.full((size[1], size[0], 3), BLANK, np.uint8)
    else:
        canvas = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    ranks = np.linspace(255, 0, max(len(features), 1)).astype(np.uint8)
    colors = cv2.applyColorMap(ranks[:, None], cv2.COLORMAP_TURBO)[:, 0].tolist()
    points = (features.keypoints + 0.5) * (size[0] / width, size[1] / height) - 0.5
    for (x, y), color in reversed(list(zip(points.tolist(), colors, strict=False))):
        if -1 < x < size[0] and -1 < y < size[1]:  # a file may hold any
            cv2.circle(canvas, (round(x), round(y)), 1, color, cv2.FILLED)
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    return _data_uri("jpeg", cv2.imencode(".jpg", canvas, options)[1].tobytes())


def _text(text: str) -> str:
    """Return text that is safe in HTML and shows its control characters."""
    return escape(printable(text))


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _summary(facts: StoreFacts, details: dict[str, str]) -> str:
    readable = [image for image in facts.images if image.error is None]
    keypoints = [image.keypoints for image in readable]
    errors = len(facts.images) - len(readable)
    rows = {
        "images": f"{len(facts.images)}, {errors} unreadable",
        "keypoints": f"{sum(keypoints)}, median {np.median(keypoints or [0]):g} per "
        "image",
        **details,
    }
    lines = (f"<dt>{_text(k)}</dt><dd>{_text(v)}</dd>" for k, v in rows.items())
    return f"<dl>{''.join(lines)}</dl>"


def _histograms(facts: StoreFacts) -> str:
    readable = [image for image in facts.images if image.error is None]
    most = max((image.keypoints for image in readable), default=0)
    drawn = (
        ("keypoints", [image.keypoints for image in readable], float(max(1, most))),
        ("coverage", [image.coverage for image in readable], 1.0),
        ("median score", [image.score for image in readable], 1.0),
    )
    charts = "".join(_histogram(name, values, top) for name, values, top in drawn)
    return f'<h2>Distribution over images</h2><div class="row">{charts}</div>'


def _histogram(name: str, values: Sequence[float], top: float) -> str:
    """Return an SVG of the number of images by value, from 0 to `top`."""
    counts, _ = np.histogram(values, bins=BARS, range=(0, top))
    tallest = max(1, counts.max())
    bars = "".join(
        f'<rect x="{BAR * i}" y="{HEIGHT - height:.1f}" width="{BAR - 1}" '
        f'height="{height:.1f}"><title>{count} images</title></rect>'
        for i, count in enumerate(counts)
        for height in (HEIGHT * count / tallest,)
    )
    width, base = BAR * BARS, HEIGHT + 14
    return (
        f'<svg width="{width}" height="{HEIGHT + 34}" role="img" aria-label="{name}">'
        f'{bars}<text x="0" y="{base}">0</text>'
        f'<text x="{width}" y="{base}" text-anchor="end">{top:g}</text>'
        f'<text x="{width / 2}" y="{base + 16}" text-anchor="middle">{name} (tallest '
        f"bar: {tallest})</text></svg>"
    )


def _graph(graph: MatchGraph) -> str:
    cv2 = import_cv2("kpextract report")
    picture = ""
    if graph.weights.size:
        shades = (255 - 255 * np.sqrt(graph.weights)).astype(np.uint8)
        uri = _data_uri("png", cv2.imencode(".png", shades)[1].tobytes())
        picture = f'<img class="matrix" alt="matrix of matches" src="{uri}">'
    parts = ", ".join(map(str, graph.components[:PARTS]))
    more = len(graph.components) - PARTS
    listed = f"{parts} and {more} more" if more > 0 else parts
    return (
        f"<h2>Match graph</h2><p>{graph.connected} of {graph.pairs} pairs have "
        f"matches. Connected parts: {len(graph.components)}, with {listed} images. "
        "Below, rows and columns are images in their order; darker is more matches, "
        f"white is none.</p>{picture}"
    )


def _figure(image: ImageFacts, picture: str | None) -> str:
    drawn = f'<img alt="{_text(image.name)}" src="{picture}">' if picture else ""
    if image.error is not None:
        said = f'<span class="error">{_text(image.error)}</span>'
    else:
        matches = "" if image.matches is None else f", {image.matches} matches"
        said = (
            f"{image.keypoints} keypoints{matches}, coverage {image.coverage:.0%}, "
            f"median score {image.score:.2f}"
        )
    caption = f"<b>{_text(image.name)}</b><br>{said}"
    return f"<figure>{drawn}<figcaption>{caption}</figcaption></figure>"
