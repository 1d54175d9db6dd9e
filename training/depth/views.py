"""Map the pixels of two views to the planes of a scene, and to each other."""

from typing import NamedTuple

import torch
from torch import Tensor

from training.depth.cameras import Cameras
from training.depth.planes import Planes
from training.homography import Size

LEAST_FACING = 0.3  # minimum over maximum inverse depth of a background in the corners


class Seen(NamedTuple):
    """M planes as seen by two views.

    to_photo, to_outline, to_other: (2, M, 3, 3) float32, map pixels of the view to the
        photo, to the square of the outline and to pixels of the other view. Their third
        rows are positive for points in front of the respective camera.
    inverse_depth: (2, M, 3) float32, linear in homogeneous pixels of the view.
    faces: (2, M) bool, True if the view sees the same side as the reference.
    to_reference: (2, M) float32, root of the determinant of view to reference.
    """

    to_photo: Tensor
    to_outline: Tensor
    to_other: Tensor
    inverse_depth: Tensor
    faces: Tensor
    to_reference: Tensor


def face_backgrounds(planes: Planes, cameras: Cameras, size: Size) -> Planes:
    """Turn backgrounds toward both views if a view would see (almost) past them."""
    count = planes.counts[0]
    right, bottom = size[1] - 1, size[0] - 1
    device = planes.normal.device
    corners = torch.tensor(
        [[0, right, 0, right], [0, 0, bottom, bottom], [1, 1, 1, 1]],
        dtype=torch.float64,
        device=device,
    )
    normal, distance = planes.normal[:count], planes.distance[:count]
    inverse, faces = _inverse_depth(normal, distance, cameras)
    shares = (inverse[:, :, None] @ corners)[:, :, 0]
    flat = shares.amin(dim=2) > LEAST_FACING * shares.amax(dim=2)
    good = (flat & faces).all(dim=0)[:, None]
    axes = cameras.rotation[:, :, 2].sum(dim=0)
    axes = axes / axes.norm(dim=1, keepdim=True)
    normal = torch.where(good, normal, axes)
    # The plane still intersects the reference's axis at depth 1.
    distance = torch.where(good[:, 0], distance, axes[:, 2])
    return planes._replace(
        normal=torch.cat((normal, planes.normal[count:])),
        distance=torch.cat((distance, planes.distance[count:])),
    )


def _inverse_depth(
    normal: Tensor, distance: Tensor, cameras: Cameras
) -> tuple[Tensor, Tensor]:
    """Return (2, M, 3) inverse depth per homogeneous pixel, and (2, M) facing.

    A camera behind a plane has d < 0 for it and does not face it.
    """
    there = (cameras.rotation @ normal[..., None])[..., 0]
    beyond = distance - (normal * cameras.center).sum(dim=-1)
    faces = beyond > 1e-3
    beyond = torch.where(faces, beyond, 1.0)
    rows = torch.linalg.solve(cameras.intrinsics.mT, there / beyond[..., None])
    return rows, faces


def see(planes: Planes, cameras: Cameras, reference: Tensor) -> Seen:
    """Compute the maps from both views of each scene to its planes.

    Args:
        planes: M planes of B scenes.
        cameras: two per scene.
        reference: (B, 3, 3) intrinsics of the reference cameras.
    """
    of_plane = Cameras(*(part[:, planes.scene] for part in cameras))
    inverse, faces = _inverse_depth(planes.normal, planes.distance, of_plane)
    # X = R' K^-1 p z + C with z = 1 / (inverse p), R' the transpose, for all p at once.
    unproject = of_plane.rotation.mT @ torch.linalg.inv(of_plane.intrinsics)
    world = unproject + of_plane.center[..., None] * inverse[:, :, None]
    other = Cameras(*(part.flip(0) for part in of_plane))
    to_reference = reference[planes.scene] @ world
    between = world - other.center[..., None] * inverse[:, :, None]
    to_other = other.intrinsics @ other.rotation @ between
    return Seen(
        (planes.to_photo @ to_reference).float(),
        (planes.to_outline @ to_reference).float(),
        to_other.float(),
        inverse.float(),
        faces,
        torch.linalg.det(to_reference).abs().sqrt().float(),
    )
