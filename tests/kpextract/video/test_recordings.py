"""Read recordings that rosbags has written."""

import cv2
import numpy as np
import pytest

from kpextract import (
    InvalidImageError,
    InvalidOptionError,
    MissingPackageError,
    SourceError,
)
from kpextract.video import open_video
from kpextract.video.recordings import (
    CONVERSIONS,
    LAYOUTS,
    Recording,
    decode_compressed,
    decode_raw,
    is_recording,
)

rosbag1 = pytest.importorskip("rosbags.rosbag1")
rosbag2 = pytest.importorskip("rosbags.rosbag2")
from rosbags.typesys import Stores, get_typestore  # noqa: E402

RNG = np.random.default_rng(0)
START = 1_700_000_000_123_456_789  # a double cannot hold it
ROS1, ROS2 = get_typestore(Stores.ROS1_NOETIC), get_typestore(Stores.LATEST)
COLOR = RNG.integers(0, 255, (20, 24, 3), np.uint8)


def header(store, stamp):
    kinds = store.types
    time = kinds["builtin_interfaces/msg/Time"](*divmod(stamp, 1_000_000_000))
    given = {"seq": 0} if store is ROS1 else {}
    return kinds["std_msgs/msg/Header"](stamp=time, frame_id="cam", **given)


def raw(image, encoding, stamp=START, store=ROS2, *, padding=0, big=False):
    """Return sensor_msgs/Image with `padding` bytes at the end of each row."""
    image = image.astype(image.dtype.newbyteorder(">" if big else "<"))
    rows = image.reshape(len(image), -1).view(np.uint8)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    return store.types["sensor_msgs/msg/Image"](
        header=header(store, stamp),
        height=image.shape[0],
        width=image.shape[1],
        encoding=encoding,
        is_bigendian=int(big),
        step=rows.shape[1],
        data=rows.ravel(),
    )


def compressed(image, suffix, stamp=START, store=ROS2):
    data = cv2.imencode(suffix, image)[1].ravel()
    kind = store.types["sensor_msgs/msg/CompressedImage"]
    return kind(header=header(store, stamp), format=f"bgr8; {suffix}", data=data)


def write_bag(path, messages):
    """Write (topic, recorded, message) as a ROS 1 bag."""
    connections = {}
    with rosbag1.Writer(path) as writer:
        for topic, recorded, message in messages:
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=ROS1)
            data = ROS1.serialize_ros1(message, kind)
            writer.write(connections[topic], recorded, data)
    return path


def write_ros2(path, messages, plugin=rosbag2.StoragePlugin.MCAP):
    """Write (topic, recorded, message) as the folder of a ROS 2 recording."""
    connections = {}
    with rosbag2.Writer(path, version=9, storage_plugin=plugin) as writer:
        for topic, recorded, message in messages:
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=ROS2)
            data = ROS2.serialize_cdr(message, kind)
            writer.write(connections[topic], recorded, data)
    return path


def read_all(path, topic=None):
    """Return (time, image) of each frame."""
    recording = Recording(str(path), topic)
    frames = []
    while (image := recording.read()) is not None:
        assert recording.time == pytest.approx(recording.stamp_ns / 1e9, abs=1e-6)
        frames.append((recording.stamp_ns, image))
    recording.release()
    assert recording.count == len(frames)
    return frames


def film(store):
    """Return five frames of a topic, and the pixels of each."""
    images = [RNG.integers(0, 255, (20, 24), np.uint8) for _ in range(5)]
    stamps = [START + 33_000_001 * i for i in range(5)]
    sent = [
        ("/cam/image_raw", stamp + 5, raw(image, "mono8", stamp, store))
        for stamp, image in zip(stamps, images, strict=True)
    ]
    return sent, list(zip(stamps, images, strict=True))


def assert_same(frames, expected):
    assert [stamp for stamp, _ in frames] == [stamp for stamp, _ in expected]
    for (_, image), (_, wanted) in zip(frames, expected, strict=True):
        np.testing.assert_array_equal(image, wanted)


def test_a_ros1_bag(tmp_path):
    sent, expected = film(ROS1)
    assert_same(read_all(write_bag(tmp_path / "a.bag", sent)), expected)


@pytest.mark.parametrize("plugin", list(rosbag2.StoragePlugin))
def test_a_ros2_recording_as_folder_and_as_file(plugin, tmp_path):
    sent, expected = film(ROS2)
    folder = write_ros2(tmp_path / "drive", sent, plugin)
    assert is_recording(folder)
    assert_same(read_all(folder), expected)
    (file,) = [path for path in folder.iterdir() if path.suffix != ".yaml"]
    assert is_recording(file)
    assert_same(read_all(file), expected)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_compressed_images(suffix, tmp_path):
    message = compressed(COLOR, suffix)
    path = write_ros2(tmp_path / "drive", [("/cam/compressed", 9, message)])
    ((stamp, image),) = read_all(path)
    assert stamp == START
    expected = cv2.imdecode(np.asarray(message.data), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(image, expected)


def test_without_a_stamp_in_the_header_the_time_of_the_recording_is_taken(tmp_path):
    sent = [("/cam", 123_456, raw(COLOR, "bgr8", stamp=0))]
    ((stamp, _),) = read_all(write_ros2(tmp_path / "drive", sent))
    assert stamp == 123_456


def test_a_topic_is_chosen_among_several(tmp_path):
    sent = [
        ("/left", 1, raw(COLOR, "bgr8", stamp=7)),
        ("/right", 2, raw(COLOR, "bgr8", stamp=8)),
        ("/info", 3, header(ROS2, 9)),
    ]
    path = write_ros2(tmp_path / "drive", sent)
    assert [stamp for stamp, _ in read_all(path, "/right")] == [8]
    with pytest.raises(SourceError, match=r"several.*--topic \(/left, /right\)"):
        Recording(str(path))
    with pytest.raises(SourceError, match=r"no images on topic /up\. It has /left, /r"):
        Recording(str(path), "/up")


def test_a_recording_without_images_says_so(tmp_path):
    path = write_ros2(tmp_path / "drive", [("/info", 3, header(ROS2, 9))])
    with pytest.raises(SourceError, match="no topic of images"):
        Recording(str(path))


@pytest.mark.parametrize(
    ("encoding", "image", "expected"),
    [
        ("mono8", COLOR[..., 0], COLOR[..., 0]),
        ("8UC1", COLOR[..., 0], COLOR[..., 0]),
        ("bgr8", COLOR, COLOR),
        ("8UC3", COLOR, COLOR),
        ("rgb8", COLOR[..., ::-1], COLOR),
        ("bgra8", np.dstack([COLOR, COLOR[..., 0]]), COLOR),
        ("rgba8", np.dstack([COLOR[..., ::-1], COLOR[..., 0]]), COLOR),
        ("mono16", COLOR[..., 0] * np.uint16(257), COLOR[..., 0] * np.uint16(257)),
        ("16UC1", COLOR[..., 1] * np.uint16(3), COLOR[..., 1] * np.uint16(3)),
    ],
)
@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("big", [False, True])
def test_raw_encodings(encoding, image, expected, padding, big):
    message = raw(np.ascontiguousarray(image), encoding, padding=padding, big=big)
    decoded = decode_raw("here", message)
    assert decoded.dtype == expected.dtype
    np.testing.assert_array_equal(decoded, expected)


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_patterns_give_back_a_flat_color(pattern):
    """ROS names the first two pixels of the first two rows."""
    color = {"b": 30, "g": 120, "r": 220}
    mosaic = np.array([color[letter] for letter in pattern], np.uint8).reshape(2, 2)
    decoded = decode_raw("here", raw(np.tile(mosaic, (10, 12)), f"bayer_{pattern}8"))
    assert (decoded[2:-2, 2:-2] == [30, 120, 220]).all()


def test_every_conversion_has_a_layout():
    assert set(CONVERSIONS) < set(LAYOUTS)


def test_what_cannot_be_decoded_is_named():
    with pytest.raises(InvalidImageError, match=r"here: .*'yuv422'.*mono8, 8UC1"):
        decode_raw("here", raw(COLOR, "yuv422"))
    short = raw(COLOR, "bgr8")
    short.data = short.data[:-1]
    with pytest.raises(InvalidImageError, match="1439 bytes with a step of 72"):
        decode_raw("here", short)
    short.step = 71
    with pytest.raises(InvalidImageError, match="step of 71 are not an image of 24x20"):
        decode_raw("here", short)
    cut = compressed(COLOR, ".png")
    cut.data = cut.data[:40]
    with pytest.raises(InvalidImageError, match=r"40 bytes of format 'bgr8; \.png'"):
        decode_compressed("here", cut)


def test_a_damaged_recording_says_so(tmp_path):
    sent, _ = film(ROS1)
    path = write_bag(tmp_path / "a.bag", sent)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SourceError, match=r"a\.bag is not a recording|is damaged"):
        read_all(path)
    path.write_bytes(b"no recording")
    with pytest.raises(SourceError, match=r"a\.bag is not a recording that rosbags"):
        Recording(str(path))


def test_without_rosbags_the_install_line_is_given(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "rosbags", None)
    with pytest.raises(MissingPackageError, match=r"kpextract\[ros\]"):
        Recording(str(tmp_path / "a.bag"))


@pytest.mark.parametrize("plugin", [None, *rosbag2.StoragePlugin])
def test_a_recording_is_a_video(plugin, tmp_path):
    """It is opened in one thread and read in another, which SQLite does not like."""
    sent, expected = film(ROS1 if plugin is None else ROS2)
    if plugin is None:
        path = write_bag(tmp_path / "a.bag", sent)
    else:
        path = write_ros2(tmp_path / "drive", sent, plugin)
    with open_video(str(path), topic="/cam/image_raw") as video:
        assert (video.live, video.count) == (False, 5)
        # Four steps of 33 ms, and a frame more than steps.
        assert video.fps == pytest.approx(5 / 0.132, rel=1e-3)
        frames = list(video)
    assert [frame.index for frame in frames] == list(range(5))
    for frame, (stamp, image) in zip(frames, expected, strict=True):
        assert frame.source_time == pytest.approx(stamp / 1e9, abs=1e-6)
        np.testing.assert_array_equal(frame.image, image)


def test_an_image_that_cannot_be_decoded_is_skipped_and_named(tmp_path, caplog):
    sent, expected = film(ROS2)
    sent[2][2].encoding = "yuv422"
    path = write_ros2(tmp_path / "drive", sent)
    with open_video(path) as video:
        times = [frame.source_time for frame in video]
    whole = [stamp for i, (stamp, _) in enumerate(expected) if i != 2]
    np.testing.assert_allclose(times, np.array(whole) / 1e9, rtol=0, atol=1e-6)
    (record,) = caplog.records
    assert f"{path} at {expected[2][0]} ns" in record.message
    assert record.message.endswith("Skipped.")


def test_a_topic_applies_to_recordings_only(tmp_path):
    (tmp_path / "clip.avi").write_bytes(b"no recording")
    with pytest.raises(InvalidOptionError, match=r"recordings .*clip\.avi' is not"):
        open_video(tmp_path / "clip.avi", topic="/cam")
