"""Small valid files, made here, that the targets start from."""

import functools
import io
import tempfile
from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from kpextract import Features

D = 8  # length of a descriptor of `dense_model`


@functools.cache
def scratch() -> Path:
    """Return a folder of this process, in memory where the system has such."""
    memory = Path("/dev/shm")
    return Path(_folder(str(memory) if memory.is_dir() else None).name)


@functools.cache
def _folder(parent: str | None) -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="kpextract-fuzz-", dir=parent)


def texture(height: int, width: int, channels: int = 3) -> np.ndarray:
    """Return (H, W, channels) uint8 noise, the same each time."""
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (height, width, channels), np.uint8)


@functools.cache
def features_arrays() -> tuple[dict[str, np.ndarray], ...]:
    """Return the arrays of two feature files: with sigma, and without keypoints."""
    vectors = np.eye(3, D, dtype=np.float32)
    size = np.array([48, 32])
    points = np.array([[1, 2], [47, 31], [0, 0]], np.float32)
    full = {
        "keypoints": points,
        "scores": np.array([0.9, 0.5, 0.5], np.float32),
        "descriptors": vectors,
        "image_size": size,
        "sigma": np.ones(3, np.float32),
    }
    empty = {name: array[:0] for name, array in full.items() if name != "sigma"}
    return full, empty | {"image_size": size}


@functools.cache
def features_files() -> tuple[bytes, ...]:
    """Return feature files as `save` writes them, and one compressed."""
    contents = []
    for arrays in features_arrays():
        path = scratch() / "sample.npz"
        size = tuple(map(int, arrays["image_size"]))
        Features(**(arrays | {"image_size": size})).save(path)
        contents.append(path.read_bytes())
    packed = io.BytesIO()
    np.savez_compressed(packed, **features_arrays()[0])
    return (*contents, packed.getvalue())


@functools.cache
def photo_files() -> tuple[tuple[str, bytes], ...]:
    """Return (suffix, content) of small images in the formats that OpenCV writes."""
    color = texture(20, 24)
    deep = color.astype(np.uint16) * 257
    real = (color / np.float32(255)).astype(np.float32)
    images = [
        (".png", color),
        (".png", deep),
        (".png", texture(20, 24, 4)),
        (".jpg", color),
        (".tiff", color),
        (".tiff", deep),
        (".tiff", real),
        (".bmp", color),
        (".webp", color),
        (".pgm", color[:, :, 0]),
        (".ppm", deep),
    ]
    encoded = [(s, cv2.imencode(s, image)[1].tobytes()) for s, image in images]
    turned = (".jpg", _with_orientation(dict(encoded)[".jpg"], 6))
    return (*encoded, turned)


def _with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """Return a JPEG with an EXIF segment that says how it is turned."""
    entry = b"\x01\x12\x00\x03\x00\x00\x00\x01" + bytes([0, orientation, 0, 0])
    tiff = b"MM\x00\x2a\x00\x00\x00\x08\x00\x01" + entry + bytes(4)
    body = b"Exif\x00\x00" + tiff
    return jpeg[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + jpeg[2:]


@functools.cache
def dense_model() -> bytes:
    """Return a dense model of a few weights: a convolution for each output."""
    generator = np.random.default_rng(0)

    def weights(channels: int) -> np.ndarray:
        return generator.normal(0, 0.05, (channels, 3, 8, 8)).astype(np.float32)

    convolved = {"score_logits": 1, "offsets": 2, "descriptor_map": D}
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["small"]),
        helper.make_node("Transpose", ["small"], ["planes"], perm=[0, 3, 1, 2]),
        _convolution("score_logits", []),
        _convolution("offsets", []),
        # Without a bias a black image would have descriptors of length zero.
        _convolution("descriptor_map", ["bias"]),
        helper.make_node("Add", ["offsets", "centers"], ["positions"]),
    ]
    tensor = helper.make_tensor_value_info
    outputs = {"score_logits": 1, "positions": 2, "descriptor_map": D}
    # Of one size, as positions are those of the cells and constants of the graph.
    size = [1, 32, 48, 3]
    cells = [size[1] // 8, size[2] // 8]
    centers = np.stack(np.meshgrid(np.arange(cells[1]), np.arange(cells[0])))
    constants = {f"{name}.weight": weights(c) for name, c in convolved.items()} | {
        "bias": np.ones(D, np.float32),
        "scale": np.array(1 / 255, np.float32),
        "centers": (8 * centers[None] + 3.5).astype(np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "tiny",
        [tensor("image", TensorProto.UINT8, size)],
        [tensor(n, TensorProto.FLOAT, [1, c, *cells]) for n, c in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    facts = {"kind": "dense", "name": "tiny", "version": "1", "license": "Apache-2.0"}
    helper.set_model_props(
        model, {f"kpextract.{name}": value for name, value in facts.items()}
    )
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _convolution(output: str, bias: list[str]) -> onnx.NodeProto:
    inputs = ["planes", f"{output}.weight", *bias]
    return helper.make_node("Conv", inputs, [output], strides=[8, 8])
