"""Reconstruct a scene from photos: keypoints of kpextract, geometry of pycolmap.

    pip install pycolmap
    python examples/integrations/colmap.py photos/ --out reconstruction/

Writes reconstruction/database.db and COLMAP's models reconstruction/0, ... The photos
are of one camera. COLMAP's own matcher does not know the descriptors, so the database
gets keypoints and matches, without descriptors.
"""

import argparse
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pycolmap

from kpextract import Extractor, match

SUFFIXES = (".jpg", ".jpeg", ".png")
CORNER = 0.5  # COLMAP's (0, 0) is the corner of the top-left pixel, ours its center


def extract(photos, names):
    """Return the features of each photo, by name."""
    # Two points on one corner would be two observations of one 3D point.
    extractor = Extractor(max_keypoints=2000, min_distance=3)
    # COLMAP reads the pixels as they are stored, whatever the EXIF orientation says.
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    images = ((name, cv2.imread(str(photos / name), flags)) for name in names)
    return {name: extractor.detect(image) for name, image in images}


def write_database(path, photos, features):
    """Write keypoints and the matches of all pairs, and verify them.

    Args:
        path: of the database, which must not exist.
        photos: folder of the photos.
        features: of each photo, by its name.
    """
    pycolmap.Database.open(path).close()  # import_images does not create it
    pycolmap.import_images(path, photos, pycolmap.CameraMode.SINGLE)
    pairs = list(combinations(features, 2))
    with pycolmap.Database.open(path) as database:
        ids = {image.name: image.image_id for image in database.read_all_images()}
        for name, found in features.items():
            database.write_keypoints(ids[name], found.keypoints + CORNER)
        for one, other in pairs:
            indices = match(features[one], features[other], max_ratio=0.9)
            database.write_matches(ids[one], ids[other], indices.astype(np.uint32))
    listed = path.with_name("pairs.txt")
    listed.write_text("".join(f"{one} {other}\n" for one, other in pairs))
    pycolmap.verify_matches(path, listed)  # without it, no pair has inliers


def reconstruct(photos, out):
    """Return COLMAP's models of a folder of photos, by number."""
    names = sorted(p.name for p in photos.iterdir() if p.suffix.lower() in SUFFIXES)
    out.mkdir(parents=True)
    write_database(out / "database.db", photos, extract(photos, names))
    return pycolmap.incremental_mapping(out / "database.db", photos, out)


def main():
    """Reconstruct from the command line."""
    parser = argparse.ArgumentParser(description="Reconstruct a scene from photos.")
    parser.add_argument("photos", type=Path, help="folder of photos")
    parser.add_argument("--out", type=Path, required=True, help="folder, not there yet")
    arguments = parser.parse_args()
    for number, model in reconstruct(arguments.photos, arguments.out).items():
        print(f"model {number}: {model.summary()}")


if __name__ == "__main__":
    main()
