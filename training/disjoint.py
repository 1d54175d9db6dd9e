"""Was an evaluation image among the photos that the weights come from?

    python -m training.disjoint --photos photos/ held_out/ --sequences eval/ \\
        --write models/training-photos.txt
    python -m training.disjoint --list models/training-photos.txt --sequences eval/

Compares perceptual hashes, so that a copy is found under another name, size, quality or
brightness; a crop or a mirror image is not. Prints the smallest distance. Exits with 1
if an image is a copy, and names it. --write keeps the hashes of the photos, with which
others can repeat the check without the photos.
"""

import argparse
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from kpextract.errors import InvalidImageError, KpextractError
from kpextract.files import replacing
from kpextract.image import to_uint8_bgr
from kpextract.photos import PHOTOS, read_photo
from training.data import NoPhotosError

Hashes = list[tuple[str, int]]  # names of images and their perceptual hashes
BITS = 64
SAME = 8  # bits: up to here two images are copies; unrelated ones differ in about 32
THUMBNAIL = 32  # pixels, the side of the image that is transformed


def perceptual_hash(image: np.ndarray) -> int:
    """64 bits that change little when an image is resized, recompressed or brightened.

    The signs of the 8x8 lowest frequencies of the cosine transform of a small gray
    image, about their median. The constant row and column are left out: they hold
    brightness and shading.

    Args:
        image: (H, W, 3) uint8 BGR.
    """
    gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    size = (THUMBNAIL, THUMBNAIL)
    thumbnail = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
    low = cv2.dct(thumbnail.astype(np.float32))[1:9, 1:9]
    bits = np.packbits(low > np.median(low))
    return int.from_bytes(bits.tobytes(), "big")


def hash_folder(folder: Path) -> Hashes:
    """Hashes of all images below `folder`, sorted; names are relative to its parent.

    A file that cannot be read is named and left out, as in training.

    Raises:
        NoPhotosError: there is no image.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PHOTOS)

    def read(path: Path) -> int | InvalidImageError:
        try:
            return perceptual_hash(to_uint8_bgr(read_photo(path)))
        except InvalidImageError as error:
            return error

    hashes = []
    with ThreadPoolExecutor() as pool:
        results = tqdm(pool.map(read, paths), str(folder), total=len(paths))
        for path, result in zip(paths, results, strict=True):
            if isinstance(result, InvalidImageError):
                print(f"disjoint: skipped {path}: {result}", file=sys.stderr)
            else:
                name = path.relative_to(folder.parent).as_posix()
                hashes.append((name, result))
    if not hashes:
        raise NoPhotosError(f"{folder} holds no image that can be read.")
    return hashes


def distances(hashes0: list[int], hashes1: list[int]) -> np.ndarray:
    """(N, M) int32, in how many bits each of N hashes differs from each of M."""
    signs0, signs1 = (
        1.0 - 2 * np.unpackbits(np.array(hashes, ">u8")[:, None].view(np.uint8), axis=1)
        for hashes in (hashes0, hashes1)
    )
    return np.rint((BITS - signs0 @ signs1.T) / 2).astype(np.int32)


def write_list(path: Path, hashes: Hashes) -> None:
    """A line a photo, sorted by name: 16 hexadecimal digits, a space, the name."""
    lines = [f"{value:016x} {name}\n" for name, value in sorted(hashes)]
    with replacing(path) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")


def read_list(path: Path) -> Hashes:
    """What `write_list` wrote.

    Raises:
        NoPhotosError: it is no such list.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    matches = [re.fullmatch(r"([0-9a-f]{16}) (.+)", line) for line in lines]
    if not matches or None in matches:
        raise NoPhotosError(f"{path} is no list of hashes. Make one with --write.")
    return [(match[2], int(match[1], 16)) for match in matches if match]


def compare(photos: Hashes, images: Hashes) -> list[str]:
    """Print the nearest two; one line for each image that is a copy of a photo."""
    matrix = distances(*([value for _, value in side] for side in (photos, images)))
    nearest = [photos[index][0] for index in matrix.argmin(axis=0)]
    smallest = matrix.min(axis=0)
    best = smallest.argmin()
    print(
        f"{len(photos)} photos, {len(images)} images: the nearest two differ in "
        f"{smallest[best]} of {BITS} bits: {nearest[best]}, {images[best][0]}"
    )
    return [
        f"{images[index][0]} is {nearest[index]}, {smallest[index]} bits"
        for index in np.flatnonzero(smallest <= SAME)
    ]


def main(arguments: list[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m training.disjoint",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--photos", type=Path, nargs="+", help="folders of photos")
    source.add_argument("--list", type=Path, help="hashes that --write wrote")
    parser.add_argument("--sequences", type=Path, required=True, help="folder")
    parser.add_argument("--write", type=Path, help="file for the hashes of the photos")
    options = parser.parse_args(arguments)
    try:
        if options.list:
            photos = read_list(options.list)
        else:
            folders = [hash_folder(folder.resolve()) for folder in options.photos]
            photos = [photo for hashes in folders for photo in hashes]
        if options.write:
            write_list(options.write, photos)
        copies = compare(photos, hash_folder(options.sequences.resolve()))
    except (KpextractError, OSError) as error:
        print(f"disjoint: {error}", file=sys.stderr)
        return 2
    print("\n".join(copies), end="\n" if copies else "")
    return 1 if copies else 0


if __name__ == "__main__":
    sys.exit(main())
