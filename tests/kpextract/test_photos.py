"""Which files are photos, and what is read of those that people really have."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from kpextract import InvalidImageError
from kpextract.errors import UsageError
from kpextract.image_headers import is_photo
from kpextract.photos import (
    MAX_PIXELS,
    PHOTOS,
    expand,
    masks_for,
    read_mask,
    read_photo,
    write_picture,
)

RAMP = np.linspace(0, 65535, 64 * 48).astype(np.uint16).reshape(48, 64)
COLORS = cv2.merge([RAMP, RAMP // 2, RAMP // 4])
BGR = (COLORS // 257).astype(np.uint8)


def save(path, image):
    done, content = cv2.imencode(path.suffix, image)
    assert done
    path.write_bytes(content.tobytes())
    return path


def names(paths):
    return [path.name for path in paths]


def test_a_folder_gives_files_of_every_suffix_that_opencv_reads(tmp_path):
    assert {".avif", ".bmp", ".gif", ".hdr", ".jp2", ".jpe", ".pbm", ".ras"} < PHOTOS
    for suffix in PHOTOS:
        (tmp_path / f"a{suffix}").touch()
        (tmp_path / f"b{suffix.upper()}").touch()
    (tmp_path / "notes.txt").touch()
    assert len(expand([str(tmp_path)])) == 2 * len(PHOTOS)


@pytest.mark.parametrize(
    "suffix", sorted(PHOTOS - {".exr", ".pbm", ".pgm", ".pxm", ".pic"})
)
def test_opencv_reads_what_it_writes(tmp_path, suffix):
    image = np.full((32, 40, 3), 99, np.uint8)
    if suffix in (".pfm", ".hdr"):
        image = image.astype(np.float32) / 255
    try:
        path = save(tmp_path / f"a{suffix}", image)
    except cv2.error:
        pytest.skip("this OpenCV has no encoder for it")
    read = read_photo(path)
    assert read.shape == (32, 40, 3)
    scale = 255 if read.dtype == np.float32 else 1
    np.testing.assert_allclose(read * scale, 99, atol=75 if suffix == ".gif" else 2)


def test_hidden_files_and_folders_with_a_photos_name_are_left_out(tmp_path):
    (tmp_path / "x.png").mkdir()
    (tmp_path / "sub").mkdir()
    for name in ("a.png", "._a.png", ".kpextract-0123.tmp.png", "sub/b.png"):
        (tmp_path / name).touch()
    assert names(expand([str(tmp_path)])) == ["a.png"]


def test_subfolders_are_searched_when_asked_for(tmp_path):
    for name in ("b.png", "sub/a.png", "sub/deep/c.jpg", ".git/d.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = expand([str(tmp_path)], recursive=True)
    relative = [str(path.relative_to(tmp_path)) for path in found]
    assert relative == ["b.png", "sub/a.png", "sub/deep/c.jpg"]


def test_frames_are_in_natural_order(tmp_path):
    for number in (1, 2, 10, 11, 100):
        (tmp_path / f"frame{number}.png").touch()
    for name in ("007.png", "7.png", "a.png"):
        (tmp_path / name).touch()
    frames = [f"frame{number}.png" for number in (1, 2, 10, 11, 100)]
    expected = ["007.png", "7.png", "a.png", *frames]
    assert names(expand([str(tmp_path)])) == expected
    matches = expand([str(tmp_path / "frame*.png")])
    assert names(matches) == frames


def test_a_file_named_twice_is_read_once(tmp_path, monkeypatch):
    (tmp_path / "a.png").touch()
    monkeypatch.chdir(tmp_path)
    assert len(expand(["a.png", "./a.png", str(tmp_path / "a.png"), "*.png"])) == 1


def test_a_folder_without_images_says_what_it_has(tmp_path):
    (tmp_path / "IMG_1.HEIC").touch()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UsageError, match=r"no image .* its files are \.heic, \.txt"):
        expand([str(tmp_path)])


@pytest.mark.parametrize("name", ["x" * 300, "no*.png", "no.png", "nul\0byte"])
def test_an_argument_that_names_nothing_is_told(tmp_path, name):
    with pytest.raises(UsageError, match="no such image"):
        expand([name])


# Pictures of 16 bits and more.


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_gray_of_16_bits_keeps_them(tmp_path, suffix):
    read = read_photo(save(tmp_path / f"a{suffix}", RAMP))
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, cv2.merge([RAMP] * 3))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jp2"])
def test_colors_of_16_bits_are_read_in_8(tmp_path, suffix):
    read = read_photo(save(tmp_path / f"a{suffix}", COLORS))
    assert read.dtype == np.uint8
    np.testing.assert_allclose(read, BGR, atol=1)


@pytest.mark.parametrize("photometric", [2, 1])
def test_planar_files_are_read_like_their_interleaved_twins(tmp_path, photometric):
    planes = [RAMP, RAMP[::-1], RAMP[:, ::-1]][: 3 if photometric == 2 else 1]
    path = tmp_path / "planar.tif"
    path.write_bytes(planar_tiff(planes, photometric))
    read = read_photo(path)
    high = np.dstack([plane // 257 for plane in planes][::-1])
    np.testing.assert_allclose(
        read // (257 if read.dtype == np.uint16 else 1),
        np.broadcast_to(high, read.shape),
        atol=1,
    )


def planar_tiff(planes, photometric):
    """Encode an uncompressed TIFF with one plane of 16 bits after the other."""
    height, width = planes[0].shape
    count = len(planes)
    body = b"".join(plane.astype("<u2").tobytes() for plane in planes)
    start = 8
    extra = start + len(body)  # bits, offsets and sizes of the planes
    lists = [struct.pack(f"<{count}H", *[16] * count)]
    size = 2 * height * width
    offsets = [start + plane * size for plane in range(count)]
    lists += [struct.pack(f"<{count}I", *offsets)]
    lists += [struct.pack(f"<{count}I", *[size] * count)]
    at = [extra, extra + len(lists[0]), extra + len(lists[0]) + len(lists[1])]

    def entry(tag, kind, number, value):
        return struct.pack("<HHII", tag, kind, number, value)

    one = count == 1
    entries = [
        entry(256, 3, 1, width),
        entry(257, 3, 1, height),
        entry(258, 3, count, 16 if one else at[0]),
        entry(259, 3, 1, 1),
        entry(262, 3, 1, photometric),
        entry(273, 4, count, start if one else at[1]),
        entry(277, 3, 1, count),
        entry(278, 3, 1, height),
        entry(279, 4, count, size if one else at[2]),
        entry(284, 3, 1, 2),  # planar
    ]
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    head = b"II*\0" + struct.pack("<I", extra + sum(map(len, lists)))
    return head + body + b"".join(lists) + directory


@pytest.mark.parametrize("white", [100, 1023, 4095, 65535])
def test_the_white_of_a_pgm_is_white(tmp_path, white):
    values = np.rint(RAMP * (white / 65535))
    kind = "u1" if white < 256 else ">u2"
    path = tmp_path / "a.pgm"
    path.write_bytes(
        b"P5\n# 1 2 3\n64 48\n%d\n" % white + values.astype(kind).tobytes()
    )
    read = read_photo(path)
    scale = 65535 / np.iinfo(read.dtype).max
    np.testing.assert_allclose(
        read[..., 0] * scale, RAMP, atol=0.5 * 65535 / white + 257
    )


@pytest.mark.parametrize("suffix", [".tif", ".pfm"])
@pytest.mark.parametrize("channels", [1, 3])
def test_floats_in_the_unit_range_stay_as_they_are(tmp_path, suffix, channels):
    unit = (RAMP / 65535).astype(np.float32)
    image = unit if channels == 1 else cv2.merge([unit] * 3)
    # OpenCV 4.6 would write colors as LogLuv, with loss.
    plain = [cv2.IMWRITE_TIFF_COMPRESSION, 1] if suffix == ".tif" else []
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), image, plain)
    read = read_photo(path)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, cv2.merge([unit] * 3))


@pytest.mark.parametrize(
    "image",
    [
        (RAMP / 257).astype(np.float32),
        (RAMP / 65535 - 0.5).astype(np.float64) * 1e6,
        (RAMP.astype(np.int32) - 32768).astype(np.int16),
        (RAMP / 65535 * 300 + 20).astype(np.float32),
    ],
    ids=["0 to 255", "around 0", "int16", "kelvin"],
)
def test_numbers_of_another_range_are_scaled_to_it(tmp_path, image):
    read = read_photo(save(tmp_path / "a.tif", image))
    np.testing.assert_allclose(read[..., 0], RAMP / 65535, atol=1e-4)


def test_numbers_that_are_not_finite_are_black(tmp_path):
    image = (RAMP / 65535).astype(np.float32)
    image[0, :3] = np.nan, np.inf, -np.inf
    read = read_photo(save(tmp_path / "a.tif", image))
    assert (read[0, :3] == 0).all()
    np.testing.assert_array_equal(read[1:, :, 0], image[1:])


def test_a_constant_image_of_any_value_is_read(tmp_path):
    image = np.full((20, 20), 300, np.float32)
    assert (read_photo(save(tmp_path / "a.tif", image)) == 0).all()


def test_high_dynamic_range_is_read_like_a_photo(tmp_path):
    image = cv2.merge([RAMP / 65535] * 3).astype(np.float32)
    read = read_photo(save(tmp_path / "a.hdr", image))
    assert read.dtype == np.uint8
    np.testing.assert_allclose(read, image * 255, atol=3)


# What cannot be read.


def png(width, height):
    """Encode a valid file of black pixels, 16 bits a channel."""

    def chunk(kind, content):
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    packer = zlib.compressobj(9)
    row = bytes(1 + 6 * width)
    pixels = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def jpeg(width, height):
    """Encode a JPEG whose header says that size."""
    content = bytearray(cv2.imencode(".jpg", BGR)[1].tobytes())
    at = content.index(b"\xff\xc0")
    content[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(content)


@pytest.mark.parametrize(
    "content",
    [
        png(64, 64)[:16] + struct.pack(">II", 20000, 20000) + png(64, 64)[24:],
        jpeg(20000, 20000),
        b"P5 20000 20000 255\n",
    ],
    ids=["png", "jpeg", "pgm"],
)
def test_a_photo_of_too_many_pixels_is_refused_before_it_is_decoded(
    tmp_path, monkeypatch, content
):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    monkeypatch.delattr(cv2, "imdecode")
    with pytest.raises(InvalidImageError, match=r"has 20000x20000 pixels, at most 268"):
        read_photo(path)


def test_the_limit_holds_for_formats_without_a_look_at_the_header(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("kpextract.photos.MAX_PIXELS", 1000)
    with pytest.raises(InvalidImageError, match="has 64x48 pixels"):
        read_photo(save(tmp_path / "a.bmp", BGR))


def test_the_limit_lets_the_largest_cameras_pass():
    assert MAX_PIXELS > 16320 * 12240  # 200 megapixels


def test_a_lack_of_memory_is_told(tmp_path, monkeypatch):
    def fails(*_):
        raise MemoryError("Unable to allocate 2 GiB")

    monkeypatch.setattr(cv2, "imdecode", fails)
    with pytest.raises(InvalidImageError, match=r"a\.png cannot be read: Unable to"):
        read_photo(save(tmp_path / "a.png", BGR))


UNREADABLE = {
    "empty": (b"", "empty"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
    "avif": (b"\0\0\0\x18ftypavif\0\0\0\0", "AVIF"),
    "mp4": (b"\0\0\0\x18ftypisom\0\0\0\0isom", "video"),
    "avi": (b"RIFF\0\0\0\0AVI LIST", "video"),
    "mkv": (b"\x1aE\xdf\xa3\0\0", "video"),
    "pdf": (b"%PDF-1.7", "PDF"),
    "html": (b"<!DOCTYPE html>", "HTML"),
    "exr": (b"\x76\x2f\x31\x01\x02\0\0\0", "OPENCV_IO_ENABLE_OPENEXR"),
    "png": (png(64, 64)[:60], "PNG file that is truncated"),
    "jpeg": (jpeg(64, 48)[:200], "JPEG file that is truncated"),
    "tiff": (b"II*\0\x08\0\0\0", "TIFF file that is truncated"),
    "text": (b"hello", "not an image that OpenCV can read"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_cannot_be_read_says_why(tmp_path, case):
    content, why = UNREADABLE[case]
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(
        InvalidImageError, match=rf"a\.png cannot be read: it is .*{why}"
    ):
        read_photo(path)


def test_damaged_photos_are_errors_of_ours(tmp_path):
    generator = np.random.default_rng(0)
    path = tmp_path / "a.bin"
    for suffix in (".png", ".jpg", ".tif", ".pgm", ".bmp", ".hdr", ".jp2", ".gif"):
        if not cv2.haveImageWriter(f"a{suffix}"):  # GIF before OpenCV 4.11
            continue
        image = BGR.astype(np.float32) if suffix == ".hdr" else BGR
        image = image[..., 0] if suffix == ".pgm" else image
        original = cv2.imencode(suffix, image)[1].tobytes()
        for _ in range(60):
            damaged = bytearray(original)
            for at in generator.integers(0, min(len(damaged), 80), 3):
                damaged[at] = generator.integers(256)
            path.write_bytes(damaged[: generator.integers(len(damaged)) or None])
            try:
                read = read_photo(path)
            except InvalidImageError:
                continue
            assert read.shape[2] == 3
            assert read.dtype in (np.uint8, np.uint16, np.float32)


def test_a_folder_and_a_missing_file_are_told_apart(tmp_path):
    with pytest.raises(InvalidImageError, match="not a file"):
        read_photo(tmp_path)
    with pytest.raises(InvalidImageError, match="no such file"):
        read_photo(tmp_path / "no.png")


def test_photos_are_turned_upright(tmp_path):
    """By the orientation that a camera writes: 6, turned right by a quarter."""
    content = cv2.imencode(".jpg", BGR)[1].tobytes()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    segment = b"\xff\xe1" + struct.pack(">H", 2 + len(exif)) + exif
    path = tmp_path / "a.jpg"
    path.write_bytes(content[:2] + segment + content[2:])
    upright = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    expected = cv2.rotate(upright, cv2.ROTATE_90_CLOCKWISE)
    np.testing.assert_array_equal(read_photo(path), expected)


def test_a_picture_too_large_for_its_format_is_an_os_error(tmp_path):
    image = np.zeros((1, 70_000, 3), np.uint8)
    for name in ("a.jpg", "a.webp"):
        with pytest.raises(OSError, match="cannot write"):
            write_picture(tmp_path / name, image)
    assert list(tmp_path.iterdir()) == []


LEFT = np.zeros((40, 60), bool)
LEFT[:, :30] = True
MASKS = {
    "8 bits": ("m.png", LEFT.astype(np.uint8) * 255),
    "labels": ("m.png", LEFT.astype(np.uint8)),
    "16 bits": ("m.png", LEFT.astype(np.uint16) * 65535),
    "16 bits, labels": ("m.png", LEFT.astype(np.uint16)),
    "float": ("m.tiff", LEFT.astype(np.float32)),
    "one channel of three": ("m.png", np.dstack([LEFT * 0, LEFT * 255, LEFT * 0])),
    "opaque": ("m.png", np.dstack([LEFT * 255] * 3 + [np.full_like(LEFT, 1) * 255])),
    "transparent": ("m.png", np.dstack([LEFT * 255] * 3 + [LEFT * 0])),
    "one bit": ("m.pbm", LEFT.astype(np.uint8) * 255),
}


def save_mask(path, image):
    if image.dtype not in (np.uint16, np.float32):
        image = image.astype(np.uint8)
    cv2.imwrite(str(path), image)
    return path


@pytest.mark.parametrize("case", MASKS)
def test_a_mask_allows_keypoints_where_it_is_not_black(case, tmp_path):
    name, image = MASKS[case]
    np.testing.assert_array_equal(
        read_mask(save_mask(tmp_path / name, image)).allowed, LEFT
    )


@pytest.mark.parametrize("channels", [(), (3,), (4,)])
def test_a_mask_that_allows_nothing_is_refused(channels, tmp_path):
    image = np.zeros((40, 60, *channels), np.uint8)
    if channels == (4,):
        image[:, :30, 3] = 255
    path = save_mask(tmp_path / "m.png", image)
    with pytest.raises(InvalidImageError, match=r"m\.png is black.* transparency"):
        read_mask(path)


PAIR = [np.zeros((40, 60, 3), np.uint8)] * 2


def test_masks_are_none_one_for_all_or_one_for_each(tmp_path):
    photos = [tmp_path / "a.jpg", tmp_path / "b.jpg"]
    left = save_mask(tmp_path / "left.png", LEFT)
    right = save_mask(tmp_path / "right.png", ~LEFT)
    assert masks_for([], photos, PAIR) == [None, None]
    for files, expected in (
        ([left], [LEFT, LEFT]),
        ([left, right], [LEFT, ~LEFT]),
    ):
        np.testing.assert_array_equal(masks_for(files, photos, PAIR), expected)
    with pytest.raises(UsageError, match="got 3 masks for 2 photos"):
        masks_for([left] * 3, photos, PAIR)


def test_a_mask_of_another_size_names_both_files(tmp_path):
    photos = [tmp_path / "a.jpg", tmp_path / "b.jpg"]
    file = save_mask(tmp_path / "m.png", LEFT)
    images = [PAIR[0], np.zeros((60, 40, 3), np.uint8)]
    with pytest.raises(InvalidImageError, match=r"m.png has 60x40 .*b.jpg has 40x60"):
        masks_for([file], photos, images)


PNG_HEAD = cv2.imencode(".png", BGR)[1].tobytes()
CONTROL = b"\0\0\0\x08acTL" + bytes(12)  # of an animated PNG, after its header
ANIMATIONS = {
    "GIF": b"GIF89a",
    "PNG": PNG_HEAD[:33] + CONTROL + PNG_HEAD[33:],
    "WebP": b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\x12",
    "AVIF": b"\0\0\0\x18ftypavis",
}


@pytest.mark.parametrize("case", ANIMATIONS)
def test_an_animation_is_no_photo(case):
    assert not is_photo(ANIMATIONS[case])


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp", ".ppm"])
def test_a_still_picture_is_a_photo(suffix):
    assert is_photo(cv2.imencode(suffix, BGR)[1].tobytes())


@pytest.mark.parametrize("content", [b"", b"\0\0\0\x18ftypisom", b"RIFF\0\0\0\0AVI "])
def test_a_video_is_no_photo(content):
    assert not is_photo(content)
