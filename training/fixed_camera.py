"""Scenes of a fixed camera: its photos differ by hour and season, points do not move.

What SIFT finds again in another photo tells whether the camera moved between the two.
Only photos that are aligned with the first aligned group are kept; their tracks are
corners of any of them, at the same pixel of all.
"""

from pathlib import Path

import cv2
import numpy as np

from kpextract.errors import InvalidImageError
from training.data import list_photos
from training.reconstruction import SIDE_MULTIPLE, ReconstructionError
from training.scene_file import Scene

SIFT_POINTS = 2000
MAX_RATIO = 0.8  # of the best over the second-best distance
MIN_MATCHES = 20  # of two photos, within MAX_OFFSET of one pixel
MAX_OFFSET = 1.0  # px, largest median over the matches of two photos, per axis
CORNERS = 200  # per photo
SPACING = 8.0  # px between corners


def fixed_camera_scene(photos: Path, max_side: int, bottom: int = 0) -> Scene:
    """Make a scene of the photos that one unmoved camera took."""
