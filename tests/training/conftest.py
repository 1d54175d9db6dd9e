"""Fixtures of training."""

import cv2
import pytest

from training.data import list_photos


@pytest.fixture(scope="session")
def photos(tmp_path_factory, root):
    """Return the paths of two photos, alone in their folder."""
    folder = tmp_path_factory.mktemp("photos")
    for side in ("left", "right"):
        photo = cv2.imread(str(root / "examples" / f"street-{side}.jpg"))
        cv2.imwrite(str(folder / f"{side}.png"), photo)
    return list_photos(folder)
