"""Write the held-out pairs as image files in the layout of HPatches.

    python -m training.sequences --photos held_out/ --out sequences/

Writes sequences/v_<number>/1.png, 2.png and H_1_2 for each pair that training validates
on, rounded to 8 bits.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
import torch

from training import script
from training.data import CACHE_SIZE, list_photos, load_cache
from training.validate import WARPS, held_out_pairs


def write_sequences(photos: Path, out: Path, warp: str = "moderate") -> int:
    """Write one sequence per photo and return their number.

    Args:
        photos: directory of photos.
        out: directory to create.
        warp: name in `training.validate.WARPS`.

    Raises:
        NoPhotosError: no photo can be read.
        FileExistsError: `out` exists.
    """
    if out.exists():
        raise FileExistsError(
            f"{out} already exists. Give the name of a new directory."
        )
    cache = load_cache(list_photos(photos), CACHE_SIZE, torch.device("cpu"))
    out.mkdir(parents=True)
    index = 0
    for pairs in held_out_pairs(cache, warp):
        for image0, image1, homography in zip(*pairs, strict=True):
            folder = out / f"v_{index:04}"
            folder.mkdir()
            for name, image in (("1", image0), ("2", image1)):
                pixels = torch.round(255 * image).byte().permute(1, 2, 0).numpy()
                cv2.imwrite(str(folder / f"{name}.png"), np.ascontiguousarray(pixels))
            np.savetxt(folder / "H_1_2", homography.double().numpy(), fmt="%.9g")
            index += 1
    return index


@script.command
def main(arguments: list[str] | None = None) -> None:
    """Run the command line; see the module docstring."""
    parser = script.parser("training.sequences", __doc__)
    parser.add_argument(
        "--photos", type=Path, required=True, help="directory of photos"
    )
    parser.add_argument("--out", type=Path, required=True, help="directory to create")
    moves = (
        "range of the views' motion; turned adds large rotation and zoom "
        "(default: %(default)s)"
    )
    parser.add_argument("--warp", choices=WARPS, default="moderate", help=moves)
    options = parser.parse_args(arguments)
    count = write_sequences(options.photos, options.out, options.warp)
    print(f"wrote {count} sequences to {options.out}")


if __name__ == "__main__":
    sys.exit(main())
