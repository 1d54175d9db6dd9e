"""Make a scene for training from photos of one place, by structure from motion.

    python -m training.scenes --photos photos/ --out scenes/place.npz
    python -m training.scenes --photos webcam/ --out scenes/webcam.npz --fixed-camera

Detects SIFT points, matches all pairs of photos and reconstructs cameras and points
with pycolmap. The file contains the undistorted photos, their cameras, and the location
of each point in every photo that shows it, including photos that SIFT did not match
with one another. `training.real.scene_pairs` draws pairs of views from it.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from training import script
from training.real.fixed_camera import fixed_camera_scene
from training.real.reconstruction import reconstruct, to_scene
from training.real.scene_file import Scene, write_scene

MAX_SIDE = 640  # longer side of a photo in the file, pixels


def make_scene(options: argparse.Namespace) -> Scene:
    """Make the scene that the command line asks for."""
    if options.fixed_camera:
        return fixed_camera_scene(options.photos, options.max_side)
    with tempfile.TemporaryDirectory() as work:
        model = reconstruct(options.photos, Path(work), options.threads, options.masks)
        return to_scene(model, options.photos, options.max_side)


def describe(scene: Scene) -> str:
    """Describe a scene in one line."""
    per_photo = np.bincount(scene.photo, minlength=len(scene.names))
    return (
        f"{len(scene.names)} photos, {len(np.unique(scene.track))} points, "
        f"{scene.measured.sum()} observations and {(~scene.measured).sum()} "
        f"projections, {int(np.median(per_photo))} per photo (median)"
    )


@script.command
def main(arguments: list[str] | None = None) -> None:
    """Run the command line; see the module docstring."""
    options = _parser().parse_args(arguments)
    if not options.out.parent.is_dir():
        raise FileNotFoundError(f"{options.out.parent} is not a directory")
    scene = make_scene(options)
    write_scene(options.out, scene)
    print(f"{options.out}: {describe(scene)}")


def _parser() -> argparse.ArgumentParser:
    parser = script.parser("training.scenes", __doc__)
    add = parser.add_argument
    add("--photos", type=Path, required=True, help="directory of photos of one place")
    add("--out", type=Path, required=True, help="scene file to write, .npz")
    add(
        "--max-side",
        type=int,
        default=MAX_SIDE,
        help="longer side of the photos in the file, in pixels (default: %(default)s)",
    )
    add(
        "--masks",
        type=Path,
        help="directory of masks, NAME.JPG.png for NAME.JPG, black where the photo is "
        "ignored (default: none)",
    )
    add("--threads", type=int, default=-1, help="number of threads (default: all)")
    add(
        "--fixed-camera",
        action="store_true",
        help="photos of one fixed camera: their alignment is checked, and nothing is "
        "reconstructed",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
