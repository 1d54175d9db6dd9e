"""Test that lack of memory is one line, and that files cannot ask for all of it.

`RLIMIT_AS` makes an allocation fail that Linux would otherwise promise, and regret.
"""

import struct
import subprocess
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from kpextract import OutOfMemoryError
from kpextract.backends.onnxrt import _load
from kpextract.image_headers import declared_size
from kpextract.modelfile import find_model
from kpextract.packages import repair
from tests.faults.child import run

MIB = 1 << 20
SMALL = np.zeros((20, 24, 3), np.uint8)
HUGE = 32_000  # pixels a side: 1024 million
# What a decoder may take for a damaged file of at most 2 kB, beside the libraries.
DAMAGED = 64 * MIB

READ = """
import resource, sys
from pathlib import Path
import cv2
from kpextract import InvalidImageError
from kpextract.photos import read_photo
import numpy as np
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
np.clip(np.zeros(1000), 0, 1)
before = peak()
try:
    image = read_photo(Path(sys.argv[1]))
    print(peak() - before, image.shape[0] * image.shape[1])
except InvalidImageError as error:
    print(peak() - before, 0)
"""


def encoded(suffix, image=SMALL):
    return bytearray(cv2.imencode(suffix, image)[1].tobytes())


def png_of_chunk(length):
    """Return a PNG whose IDAT says that it has `length` bytes."""
    content = encoded(".png")
    at = content.index(b"IDAT")
    content[at - 4 : at] = struct.pack(">I", length)
    return content


def tiff_of(order):
    """Return the start of a TIFF: a directory of width (LONG) and height (SHORT)."""
    magic = {"<": b"II*\0", ">": b"MM\0*"}[order]
    entries = struct.pack(order + "HHII", 256, 4, 1, HUGE)
    entries += struct.pack(order + "HHIHH", 257, 3, 1, HUGE, 0)
    return magic + struct.pack(order + "IH", 8, 2) + entries


def jpeg2000():
    header = struct.pack(">I4sIIHBBBB", 22, b"ihdr", HUGE, HUGE, 3, 7, 7, 0, 0)
    start = b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\x14ftypjp2 \0\0\0\0jp2 "
    return start + struct.pack(">I4s", 30, b"jp2h") + header


def patched(suffix, at, format_, *values):
    content = encoded(suffix)
    struct.pack_into(format_, content, at, *values)
    return content


BOMBS = {
    "png": patched(".png", 16, ">II", HUGE, HUGE),
    "gif": b"GIF89a" + struct.pack("<HH", HUGE, HUGE) + b"\x80\0\0" + bytes(6) + b",",
    "bmp": patched(".bmp", 18, "<ii", HUGE, -HUGE),
    "ppm": b"P6\n%d %d\n255\n" % (HUGE, HUGE),
    "jp2": jpeg2000(),
    "tiff, little": tiff_of("<"),
    "tiff, big": tiff_of(">"),
}


def measure(path):
    """Return the bytes that reading a photo takes at its peak, and its pixels."""
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return tuple(map(int, done.stdout.split()))


@pytest.mark.parametrize("content", BOMBS.values(), ids=BOMBS)
def test_a_huge_size_is_refused_before_anything_is_decoded(tmp_path, content):
    assert declared_size(bytes(content)) == (HUGE, HUGE)
    path = tmp_path / "bomb"
    path.write_bytes(content)
    used, pixels = measure(path)
    assert pixels == 0
    assert used < DAMAGED


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tiff", ".ppm", ".gif"])
def test_the_declared_size_is_that_of_the_image(suffix):
    try:
        content = encoded(suffix)
    except (AttributeError, cv2.error):
        pytest.skip(f"this OpenCV does not write {suffix}")
    assert declared_size(bytes(content)) == (24, 20)
    assert declared_size(bytes(content[:8])) is None


@pytest.mark.parametrize("length", [0xFF0005BF, 0x7F0005BF, 100_000])
def test_a_png_chunk_cannot_ask_for_more_than_the_file_has(tmp_path, length):
    path = tmp_path / "chunk.png"
    path.write_bytes(png_of_chunk(length))
    assert path.stat().st_size < 2000
    used, pixels = measure(path)
    assert pixels == 0
    assert used < DAMAGED


KINDS = {  # bytes per pixel that docs/reliability.md promises
    "color": (".png", (3,), np.uint8, 10),
    "gray of 16 bits": (".png", (), np.uint16, 30),
    "color of 16 bits": (".png", (3,), np.uint16, 30),
    "color of floats": (".tiff", (3,), np.float32, 110),
}


@pytest.mark.parametrize(("suffix", "channels", "dtype", "most"), KINDS.values())
def test_reading_takes_what_is_documented(tmp_path, suffix, channels, dtype, most):
    path = tmp_path / f"photo{suffix}"
    image = np.full((3000, 2000, *channels), 2, dtype)
    image[0] = 0
    cv2.imwrite(str(path), image)
    used, pixels = measure(path)
    assert pixels == image.shape[0] * image.shape[1]
    assert used <= most * pixels + path.stat().st_size


def test_a_wide_image_of_too_many_pixels_is_refused_by_name(tmp_path, monkeypatch):
    from kpextract import InvalidImageError
    from kpextract.photos import read_photo

    monkeypatch.setattr("kpextract.photos.MAX_WIDE_PIXELS", 10)
    path = tmp_path / "x.tiff"
    cv2.imwrite(str(path), np.zeros((20, 24), np.float32))
    with pytest.raises(InvalidImageError, match=r"x\.tiff .*24x20 pixels of float32"):
        read_photo(path)


@pytest.fixture
def big(tmp_path):
    """Make a folder of two photos of 12 megapixels, each 36 MB in memory."""
    folder = tmp_path / "photos"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    for name in ("a.jpg", "b.jpg"):
        cv2.imwrite(str(folder / name), cv2.resize(noise, (4000, 3000)))
    return folder


# MiB left, in steps: the first are too few to read a photo or to trace a graph.
SPARE = (1, 8, 40, 80, 160)


@pytest.mark.parametrize("command", ["detect", "match", "stream", "export"])
def test_lack_of_memory_is_one_line_and_leaves_no_part_of_a_file(
    big, tmp_path, command
):
    out = tmp_path / "out"
    out.mkdir()
    a, b = big / "a.jpg", big / "b.jpg"
    words = {
        "detect": ["detect", a, b, "--out", out],
        "match": ["match", a, b, "--json"],
        "stream": ["track", big, "--out", out / "t.mp4"],
        "export": ["export", "-o", out / "m.onnx"],
    }[command]
    failed = 0
    for spare in SPARE:
        done = run(words, "", spare=spare * MIB)
        # 1: detect has skipped a photo, and named it.
        codes = (0, 1, 2) if command == "detect" else (0, 2)
        assert done.returncode in codes, (spare, done.stderr)
        assert "Traceback" not in done.stderr, (spare, done.stderr)
        failed += done.returncode > 0
        if done.returncode == 2:
            # A reader that goes on for a moment may warn after the line that counts.
            lines = done.stderr.replace("\r", "\n").split("\n")
            assert any(line.startswith("kpextract: ") for line in lines), done.stderr
            if command != "detect":  # which may have finished the first photo
                assert list(out.iterdir()) == [], spare
        for path in out.iterdir():
            assert not path.name.startswith("."), spare
            path.unlink()
    assert failed >= 2


@pytest.mark.parametrize("spare", [8, 100])
def test_workers_without_memory_are_one_line_and_leave_whole_files(
    big, tmp_path, spare
):
    """8 MiB do not suffice for a thread of the first process, 100 for a worker."""
    out = tmp_path / "out"
    done = run(["extract", big, "-o", out, "--workers", "2"], "", spare=spare * MIB)
    assert done.returncode in (1, 2), done.stderr
    assert "Traceback" not in done.stderr
    assert any(each.startswith("kpextract: ") for each in done.stderr.splitlines())
    left = {path.name for path in out.rglob("*")} if out.exists() else set()
    assert left <= {"kpextract.jsonl", "a.jpg.npz", "b.jpg.npz"}


def test_a_library_that_got_no_memory_is_not_a_broken_installation():
    fault = "libavfilter.so.11: failed to map segment from shared object"
    assert "too little memory" in repair(fault, "opencv-python")


def test_a_model_that_got_no_memory_is_not_a_broken_model():
    def fail(*_, **__):
        raise RuntimeError("pthread_create failed\nmsg: Cannot allocate memory")

    model = find_model("small")
    with pytest.raises(OutOfMemoryError, match="no memory to load it"):
        _load(SimpleNamespace(InferenceSession=fail), model, [], None)


BATCH = """
import resource, sys
import numpy as np
from kpextract import Extractor, OutOfMemoryError
extractor = Extractor(num_threads=1)
images = np.random.default_rng(0).integers(0, 256, (4, 2400, 3200, 3), np.uint8)
extractor.detect(images[0, :64, :64])
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 100_000_000,) * 2)
try:
    extractor.detect_batch(list(images))
except OutOfMemoryError as error:
    print("typed", error)
features = extractor.detect(images[0, :64, :64])
print(len(features))
"""


def test_a_batch_without_memory_is_typed_and_the_extractor_lives_on():
    done = subprocess.run([sys.executable, "-c", BATCH], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith("typed")
    assert int(second) > 0
