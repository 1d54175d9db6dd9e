"""Which photos a command line means, how they are read, how pictures are written."""

import glob
from pathlib import Path

import numpy as np

from kpextract.errors import InvalidImageError, UsageError
from kpextract.files import replacing
from kpextract.packages import import_cv2

PHOTOS = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")  # that we write


def expand(arguments: list[str]) -> list[Path]:
    """Files as given, a folder's images and a pattern's matches sorted.

    Raises:
        UsageError: an argument that names nothing.
    """
    paths: list[Path] = []
    for argument in arguments:
        if Path(argument).is_dir():
            inside = Path(argument).iterdir()
            found = sorted(path for path in inside if path.suffix.lower() in PHOTOS)
        elif Path(argument).exists():
            found = [Path(argument)]
        else:
            matches = map(Path, glob.glob(argument, recursive=True))
            found = sorted(path for path in matches if path.is_file())
        if not found:
            raise UsageError(f"{argument}: no such image, folder of images or pattern.")
        paths += found
    return list(dict.fromkeys(paths))


def read_photo(path: Path) -> np.ndarray:
    """(H, W, 3) BGR of an image file, 8 or 16 bits as the file has them.

    Raises:
        InvalidImageError: no such file, or OpenCV cannot read it.
    """
    cv2 = import_cv2("reading a photo")
    if not path.is_file():
        raise InvalidImageError(f"{path}: no such file.")
    try:
        # Not imread: it cannot open every name that the file system has.
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
        image = cv2.imdecode(np.fromfile(path, np.uint8), flags)
    except cv2.error:  # empty, or more pixels than OpenCV allows
        image = None
    if image is None:
        raise InvalidImageError(f"{path} is not an image that OpenCV can read.")
    return np.asarray(image)


def write_picture(path: Path, image: np.ndarray) -> None:
    """An image file in the format of its suffix, whole or not at all; makes its folder.

    Raises:
        OSError: it cannot be written.
    """
    cv2 = import_cv2("drawing")
    path.parent.mkdir(parents=True, exist_ok=True)
    done, content = cv2.imencode(path.suffix, image)
    if not done:
        raise OSError(f"OpenCV cannot write {path}.")
    with replacing(path) as temporary:
        temporary.write_bytes(content.tobytes())
