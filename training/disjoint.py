"""Check that no evaluation image is a copy of a training photo.

    python -m training.disjoint --photos photos/ held_out/ --sequences eval/ \\
        --write models/training-photos.txt
    python -m training.disjoint --list models/training-photos.txt --sequences eval/

Compares perceptual hashes, so a copy is found under another name, size, JPEG quality or
brightness; a crop or a mirror image is not. Prints the smallest distance, names each
copy, and exits with 1 if there is one. --write stores the hashes of the photos, so that
others can repeat the check without the photos.
"""

import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from kpextract.errors import InvalidImageError
from kpextract.files import replacing
from kpextract.image import to_uint8_bgr
from kpextract.photos import PHOTOS, read_photo
from training import script
from training.data import NoPhotosError

Hashes = list[tuple[str, int]]  # image name and perceptual hash
BITS = 64
SAME = 8  # bits: copies differ in at most this many, unrelated images in about 32
THUMBNAIL = 32  # side of the image that is transformed, pixels


def perceptual_hash(image: np.ndarray) -> int:
    """Return a 64-bit hash that barely changes under scaling, JPEG or brightness.

    Each bit tells whether one of the 8x8 lowest frequencies of the cosine transform of
    a small gray image is above their median. The constant row and column are left out:
    they hold brightness and shading.

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
    """Hash all images below `folder`, sorted; names are relative to its parent.

    An unreadable file is reported and skipped, as in training.

    Raises:
        NoPhotosError: there is no readable image.
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
        raise NoPhotosError(f"{folder} contains no readable image.")
    return hashes


def distances(hashes0: list[int], hashes1: list[int]) -> np.ndarray:
    """Return (N, M) int32 Hamming distances between N and M hashes."""
    signs0, signs1 = (
        1.0 - 2 * np.unpackbits(np.array(hashes, ">u8")[:, None].view(np.uint8), axis=1)
        for hashes in (hashes0, hashes1)
    )
    return np.rint((BITS - signs0 @ signs1.T) / 2).astype(np.int32)


def write_list(path: Path, hashes: Hashes) -> None:
    """Write one line per photo, sorted by name: 16 hex digits, a space, the name."""
    lines = [f"{value:016x} {name}\n" for name, value in sorted(hashes)]
    with replacing(path) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")


def read_list(path: Path) -> Hashes:
    """Read a list that `write_list` wrote.

    Raises:
        NoPhotosError: the file is not such a list.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    matches = [re.fullmatch(r"([0-9a-f]{16}) (.+)", line) for line in lines]
    if not matches or None in matches:
        raise NoPhotosError(f"{path} is not a list of hashes. Make one with --write.")
    return [(match[2], int(match[1], 16)) for match in matches if match]


def compare(photos: Hashes, images: Hashes) -> list[str]:
    """Print the closest pair; return one line per image that is a copy of a photo."""
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


@script.command
def main(arguments: list[str] | None = None) -> int:
    """Run the command line; see the module docstring."""
    parser = script.parser("training.disjoint", __doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--photos", type=Path, nargs="+", help="directories of training photos"
    )
    source.add_argument("--list", type=Path, help="hash list written by --write")
    parser.add_argument(
        "--sequences", type=Path, required=True, help="directory of evaluation images"
    )
    parser.add_argument("--write", type=Path, help="file to write the hashes to")
    options = parser.parse_args(arguments)
    if options.list:
        photos = read_list(options.list)
    else:
        folders = [hash_folder(folder.resolve()) for folder in options.photos]
        photos = [photo for hashes in folders for photo in hashes]
    if options.write:
        write_list(options.write, photos)
    copies = compare(photos, hash_folder(options.sequences.resolve()))
    print("\n".join(copies), end="\n" if copies else "")
    return 1 if copies else 0


if __name__ == "__main__":
    sys.exit(main())
