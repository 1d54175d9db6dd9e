"""Draw the cameras and points of a map with matplotlib, without a display."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kpextract.files import replacing
from kpextract.packages import import_matplotlib

if TYPE_CHECKING:
    import pycolmap

MAX_POINTS = 50_000  # that are drawn
# Percentiles of the points that the picture is fitted to; a few lie far away.
FIT = (2, 98)
MARGIN = 0.15  # around that, as a share of the larger side
CAMERA_SIZE = 0.04  # of the drawn axes, as a share of the larger side
CAMERA, AXIS = "#d62728", "#1f77b4"
POINT_AREA = 4  # square points of 1/72 inch


def draw_map(model: "pycolmap.Reconstruction", path: Path, title: str) -> None:
    """Write a picture of a map, from above and from where the cameras are.

    "Above" is along the mean up axis of the cameras. Red marks are cameras, blue lines
    the directions they look in; points have the colors of the photos.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    import_matplotlib("kpextract map")
    from matplotlib.figure import Figure  # without pyplot, which may want a display

    points, colors = _points(model)
    centers, forward, down = _cameras(model)
    axes = _axes_of_view(centers, forward, down)
    figure = Figure(figsize=(12, 6), layout="constrained")
    for axis, (name, rows) in zip(
        figure.subplots(1, 2), (("above", [0, 2]), ("the cameras", [0, 1])), strict=True
    ):
        _draw(axis, axes[rows], points, colors, centers, forward)
        axis.set_title(f"from {name}")
    figure.suptitle(title)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=100)


def _points(model: "pycolmap.Reconstruction") -> tuple[np.ndarray, np.ndarray]:
    """Return (N, 3) positions and (N, 3) RGB colors in [0, 1], at most MAX_POINTS."""
    chosen = list(model.points3D.values())
    chosen = chosen[:: max(1, -(-len(chosen) // MAX_POINTS))]
    xyz = np.array([point.xyz for point in chosen]).reshape(-1, 3)
    return xyz, np.array([point.color for point in chosen]).reshape(-1, 3) / 255


def _cameras(
    model: "pycolmap.Reconstruction",
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return centers, viewing directions and downward axes, each (N, 3)."""
    images = [model.image(number) for number in model.reg_image_ids()]
    centers = np.array([image.projection_center() for image in images])
    rotations = [image.cam_from_world().rotation.matrix() for image in images]
    down, forward = (np.array([r[row] for r in rotations]) for row in (1, 2))
    return centers, forward, down


def _axes_of_view(
    centers: np.ndarray, forward: np.ndarray, down: np.ndarray
) -> np.ndarray:
    """Return (3, 3) rows: right, up and away, as the cameras see it on average."""
    away = forward.mean(axis=0)
    up = -down.mean(axis=0)
    up -= away * (up @ away) / max(away @ away, 1e-12)
    up /= max(np.linalg.norm(up), 1e-12)
    away -= up * (away @ up)
    away /= max(np.linalg.norm(away), 1e-12)
    return np.stack((np.cross(-up, away), up, away))


def _draw(
    axis: Any,
    rows: np.ndarray,
    points: np.ndarray,
    colors: np.ndarray,
    centers: np.ndarray,
    forward: np.ndarray,
) -> None:
    """Draw one view into matplotlib's axes.

    Args:
        rows: (2, 3) world directions that go right and up in the picture.
    """
    flat, flat_centers = points @ rows.T, centers @ rows.T
    fitted = np.percentile(flat, FIT, axis=0) if len(flat) else flat_centers
    shown = np.concatenate((fitted, flat_centers))
    low, high = shown.min(axis=0), shown.max(axis=0)
    side = max(float((high - low).max()), 1e-9)
    axis.scatter(*flat.T, c=colors, s=POINT_AREA, linewidths=0)
    ends = flat_centers + CAMERA_SIZE * side * (forward @ rows.T)
    for start, end in zip(flat_centers, ends, strict=True):
        axis.plot(*np.stack((start, end)).T, color=AXIS, linewidth=1)
    axis.scatter(*flat_centers.T, color=CAMERA, s=12, zorder=3)
    axis.set_xlim(low[0] - MARGIN * side, high[0] + MARGIN * side)
    axis.set_ylim(low[1] - MARGIN * side, high[1] + MARGIN * side)
    axis.set_aspect("equal")
    axis.set_xticks([])  # the scale of a map is arbitrary
    axis.set_yticks([])
