"""Photos stored in all the ways that cameras are held."""

import struct

import numpy as np

# How the pixels of an upright photo are stored, by orientation.
ORIENTATIONS = {
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: np.rot90(image, 1),
    7: lambda image: image[::-1, ::-1].transpose(1, 0, 2),
    8: lambda image: np.rot90(image, -1),
}


def with_orientation(path, image, orientation):
    """Write a TIFF with an orientation tag, its pixels stored as they are."""
    height, width = image.shape[:2]
    entries = [(256, width), (257, height), (258, 8), (259, 1), (262, 2), (273, 8)]
    entries += [(274, orientation), (277, 3), (278, height), (279, image.size)]
    content = struct.pack("<2sHI", b"II", 42, 8 + image.size)
    content += np.ascontiguousarray(image[..., ::-1]).tobytes()
    content += struct.pack("<H", len(entries))
    for tag, value in entries:
        content += struct.pack("<HHII", tag, 4, 1, value)
    path.write_bytes(content + bytes(4))
