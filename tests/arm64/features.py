"""Save the features of the sample photos by each model, for compare.py.

    python tests/arm64/features.py VARIANTS OUT

VARIANTS is a folder of exported models; OUT gets one .npz per model, photo and setting,
and the photos as decoded here.
"""

import platform
import sys
from pathlib import Path

import cv2
import numpy
import onnxruntime

from kpextract import Extractor

ROOT = Path(__file__).resolve().parents[2]
PHOTOS = ("street-left", "street-right", "blocks")
BASE_PART = numpy.s_[176:304, 240:400]  # the whole photo is too much to emulate


def main(variants: Path, out: Path) -> None:
    print(
        f"{platform.machine()}: Python {platform.python_version()}, "
        f"NumPy {numpy.__version__}, ONNX Runtime {onnxruntime.__version__}, "
        f"OpenCV {cv2.__version__}"
    )
    out.mkdir(parents=True)
    for name, image, extractor in cases(variants):
        numpy.save(out / f"{name}.npy", image)
        extractor.detect(image).save(out / f"{name}.npz")


def cases(variants: Path):
    """Yield name, image and extractor of each case."""
    photos = {
        name: cv2.imread(str(ROOT / "examples" / f"{name}.jpg")) for name in PHOTOS
    }
    left = photos["street-left"]
    for model in ("small", "small-int8", "tiny-int8"):
        extractor = Extractor(model)
        for name, photo in photos.items():
            yield f"{model}-{name}", photo, extractor
    yield "small-resized", left, Extractor(max_size=400)  # OpenCV resizes
    yield "small-octaves", photos["blocks"], Extractor(octaves=2)
    gray = cv2.cvtColor(left, cv2.COLOR_BGR2GRAY)
    yield "small-gray16", gray.astype(numpy.uint16) * 257, Extractor()
    yield "base-part", left[BASE_PART], Extractor("base")
    for path in sorted(variants.glob("*.onnx")):
        yield path.stem, left, Extractor(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
