"""Read from the first bytes of a file what it is, before anything decodes it."""

import re
import struct
from collections.abc import Iterator

from kpextract.files import LFS_POINTER

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
# Start of frame: the segments of a JPEG that hold its size.
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}
GAP = rb"(?:\s|#[^\n]*\n)+"  # between the numbers of a Netpbm header
NETPBM = re.compile(rb"P[2356]" + 3 * (GAP + rb"(\d{1,10})") + rb"\s")

JP2 = b"\0\0\0\x0cjP  "
TIFF = {b"II*\0": "<", b"MM\0*": ">"}  # and the order of its bytes
TIFF_WIDTH, TIFF_HEIGHT = 256, 257  # tags

READ_BY_OPENCV = {PNG: "PNG", JPEG: "JPEG", b"BM": "BMP", b"GIF8": "GIF"} | {
    **{b"II*\0": "TIFF", b"MM\0*": "TIFF", b"#?": "Radiance HDR"},
    **{JP2: "JPEG 2000", b"P5": "PGM", b"P6": "PPM", b"Pf": "PFM"},
}
OTHERS = {
    LFS_POINTER: "a Git LFS pointer, not the image itself; run: git lfs pull",
    b"\x76\x2f\x31\x01": "OpenEXR, which OpenCV reads only with the environment "
    "variable OPENCV_IO_ENABLE_OPENEXR=1; or convert it",
    b"%PDF": "a PDF document, not an image",
    b"\x1aE\xdf\xa3": "a video; give it to kpextract track",
    b"\x93NUMPY": "a NumPy array, not an image",
    b"<": "text (HTML, SVG or XML), not an image",
}
HEIF = {b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"}
AVIF = {b"avif", b"avis"}  # a picture, a sequence
WEBP_ANIMATION = 0x02  # flag of its extended header


def declared_size(content: bytes) -> tuple[int, int] | None:
    """Return (width, height) in pixels as the header of a file states them.

    None for formats whose size is not looked up here, and for damaged headers.
    """
    if content.startswith(PNG) and len(content) >= 24:
        return _number(content[16:20]), _number(content[20:24])
    if content.startswith(JPEG):
        return next(_jpeg_sizes(content), None)
    if found := NETPBM.match(content[:1000]):
        return int(found[1]), int(found[2])
    try:
        return _packed_size(content)
    except struct.error:
        return None


def _packed_size(content: bytes) -> tuple[int, int] | None:
    """Return (width, height) of a BMP, GIF, JPEG 2000 or TIFF file; None of others.

    Raises:
        struct.error: the file ends before them.
    """
    if content.startswith(b"GIF8"):
        return struct.unpack_from("<HH", content, 6)
    if content.startswith(b"BM"):
        old = content[14:18] == b"\x0c\0\0\0"
        width, height = struct.unpack_from("<HH" if old else "<ii", content, 18)
        return abs(width), abs(height)  # a negative height: from the top down
    if content.startswith(JP2) and (box := content.find(b"ihdr", 0, 100)) >= 0:
        height, width = struct.unpack_from(">II", content, box + 4)
        return width, height
    if order := TIFF.get(content[:4]):
        return _tiff_size(content, order)
    return None


def _tiff_size(content: bytes, order: str) -> tuple[int, int] | None:
    """Return (width, height) as the first directory of a TIFF file states them."""
    (start,) = struct.unpack_from(f"{order}I", content, 4)
    (count,) = struct.unpack_from(f"{order}H", content, start)
    found = {}
    for at in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(f"{order}HH", content, at)
        if tag in (TIFF_WIDTH, TIFF_HEIGHT):
            letter = "H" if kind == 3 else "I"  # SHORT or LONG
            (found[tag],) = struct.unpack_from(order + letter, content, at + 8)
    return (found[TIFF_WIDTH], found[TIFF_HEIGHT]) if len(found) == 2 else None


def has_endless_chunk(content: bytes) -> bool:
    """Return whether a PNG declares a chunk that is longer than the rest of the file.

    OpenCV allocates what a chunk declares, up to 4 GiB, before it reads it.
    """
    at = len(PNG)
    while content.startswith(PNG) and at + 8 <= len(content):
        length = _number(content[at : at + 4])
        at += 12 + length  # length, type and checksum
        if at > len(content):
            return True
        if content[at - 8 - length : at - 4 - length] == b"IEND":
            return False
    return False


def netpbm_white(content: bytes) -> int | None:
    """Return the value that stands for white in a PGM or PPM file; None for others."""
    found = NETPBM.match(content[:1000])
    return int(found[3]) if found else None


def may_be_deep(content: bytes) -> bool:
    """Return whether an image may hold more than 8 bits per channel."""
    if content.startswith(PNG):
        return content[24:25] == b"\x10"
    return not content.startswith((JPEG, b"BM", b"GIF8", b"RIFF", b"#?"))


def is_photo(content: bytes) -> bool:
    """Return whether a file is one picture, not an animation or anything else.

    Args:
        content: the file, or its beginning.
    """
    if content.startswith(b"GIF8"):
        return False
    if content.startswith(PNG):
        return b"\0\0\0\x08acTL" not in content[: max(0, content.find(b"IDAT"))]
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return not (content[12:16] == b"VP8X" and content[20] & WEBP_ANIMATION)
    if content[4:8] == b"ftyp":
        return content[8:12] in HEIF | AVIF - {b"avis"}
    return content.startswith(tuple(READ_BY_OPENCV)) or bool(NETPBM.match(content))


def why_unreadable(content: bytes) -> str:
    """Return what a file is that OpenCV could not decode, to follow "it is"."""
    if not content:
        return "empty"
    brand = content[8:12] if content[4:8] == b"ftyp" else None
    if brand in HEIF:
        return "HEIC, which OpenCV cannot read; convert it to JPEG or PNG"
    if brand in AVIF:
        return "AVIF, and damaged or not supported by this OpenCV"
    if brand is not None or content[8:12] == b"AVI ":
        return "a video; give it to kpextract track"
    for magic, what in OTHERS.items():
        if content.startswith(magic):
            return what
    for magic, name in READ_BY_OPENCV.items():
        if content.startswith(magic):
            return f"a {name} file that is truncated or damaged"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "a WebP file that is truncated or damaged"
    return "not an image that OpenCV can read"


def _jpeg_sizes(content: bytes) -> Iterator[tuple[int, int]]:
    """Yield the sizes in a JPEG's headers, up to the pixels."""
    at = 2
    while at + 9 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF:  # padding
            at += 1
        elif marker in WITHOUT_LENGTH:
            at += 2
        elif marker in FRAMES:
            yield _number(content[at + 7 : at + 9]), _number(content[at + 5 : at + 7])
            return
        else:
            at += 2 + max(2, _number(content[at + 2 : at + 4]))


def _number(content: bytes) -> int:
    return int.from_bytes(content, "big")
