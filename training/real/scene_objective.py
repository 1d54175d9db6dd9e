"""Loss terms of real scenes, from sparse tracks and epipolar lines."""

import torch
from torch import Tensor

from kpextract.image import STRIDE
from training import losses
from training.network import DenseOutput
from training.sampling import sample_descriptors
from training.truth import Tracks

TEMPERATURE = 0.1  # of the cosine in the softmax
NEAR = 6.0  # pixels: points closer to the correct one are not negatives
ON_LINE = 3.0  # maximum distance of a plausible match from its line, pixels
COVERED = 24.0  # pixels: points closer to a track are visible in the other view


def track_terms(
    output0: DenseOutput, output1: DenseOutput, tracks: Tracks
) -> dict[str, Tensor]:
    """Return the (T,) terms of T pairs of views that share tracks.

    tracks: each track must retrieve its own location in the other view among the points
        of all cells.
    epipolar: a point near the tracks whose best match is off its epipolar line is wrong
        and should score low; only the scores learn from it.
    """
    sides = (
        (output0, tracks.points0, output1, tracks.points1),
        (output1, tracks.points1, output0, tracks.points0),
    )
    found = sum(_find_tracks(*side, tracks.mask) for side in sides) / 2
    lines = (tracks.fundamental, tracks.fundamental.transpose(1, 2))
    wrong = sum(
        _score_by_lines(output, points, other, line, tracks.mask)
        for (output, points, other, _), line in zip(sides, lines, strict=True)
    )
    return {"tracks": found, "epipolar": wrong / 2}


def _sample(output: DenseOutput, points: Tensor) -> Tensor:
    stride = STRIDE * output.score_logits.shape[-1] // output.descriptor_map.shape[-1]
    return sample_descriptors(output.descriptor_map, points, stride)


def _cells(output: DenseOutput) -> Tensor:
    """Return (B, M, 2) positions of all cells, without gradient."""
    return output.positions.detach().flatten(2).transpose(1, 2)


def _find_tracks(
    output0: DenseOutput,
    points0: Tensor,
    output1: DenseOutput,
    points1: Tensor,
    mask: Tensor,
) -> Tensor:
    """Return (T,) mean cross-entropies of the tracks in view 1 against all cells."""
    cells1 = _cells(output1)
    scaled = _sample(output0, points0) / TEMPERATURE
    right = (scaled * _sample(output1, points1)).sum(dim=-1)
    others = scaled @ _sample(output1, cells1).transpose(1, 2)
    near = losses.distance_matrix(points1, cells1) < NEAR
    others = others.masked_fill(near, -torch.inf)
    both = torch.cat((right[..., None], others), dim=-1)
    loss = (torch.logsumexp(both, dim=-1) - right) * mask
    return loss.sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def _score_by_lines(
    output0: DenseOutput,
    points0: Tensor,
    output1: DenseOutput,
    fundamental: Tensor,
    mask: Tensor,
) -> Tensor:
    """Return (T,) means of `losses.usp_loss`, with a wrong match as the cost."""
    cells0 = _cells(output0)
    with torch.no_grad():
        tracked = points0.masked_fill(~mask[..., None], torch.inf)
        covered = losses.distance_matrix(cells0, tracked).amin(dim=2) < COVERED
        distance, mutual = _best_matches(output0, cells0, output1, fundamental)
        wrong = ((distance > ON_LINE) | ~mutual).float()
    scores = torch.sigmoid(output0.score_logits).flatten(1)
    loss = losses.usp_loss(wrong, scores, scores, covered)
    return loss / covered.sum(dim=1).clamp(min=1)


def _best_matches(
    output0: DenseOutput, cells0: Tensor, output1: DenseOutput, fundamental: Tensor
) -> tuple[Tensor, Tensor]:
    """Find each point's nearest descriptor in view 1.

    Returns:
        distance: (T, M) distances of that point from the epipolar line, pixels.
        mutual: (T, M) bool, True if the match is a mutual nearest neighbor.
    """
    cells1 = _cells(output1)
    similarity = _sample(output0, cells0) @ _sample(output1, cells1).transpose(1, 2)
    best, back = similarity.argmax(dim=2), similarity.argmax(dim=1)
    mutual = back.gather(1, best) == torch.arange(best.shape[1], device=best.device)
    matched = torch.gather(cells1, 1, best[..., None].expand(-1, -1, 2))
    one = torch.ones_like(matched[..., :1])
    lines = torch.cat((cells0, one), dim=-1) @ fundamental.transpose(1, 2)
    above = (lines * torch.cat((matched, one), dim=-1)).sum(dim=-1).abs()
    return above / lines[..., :2].norm(dim=-1).clamp(min=1e-9), mutual
