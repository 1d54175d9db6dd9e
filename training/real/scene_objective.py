"""Terms of real scenes, where only some points are known: tracks and epipolar lines."""

import torch
from torch import Tensor

from kpextract.image import STRIDE
from training import losses
from training.network import DenseOutput
from training.sampling import sample_descriptors
from training.truth import Tracks

TEMPERATURE = 0.1  # of the cosine in the softmax
NEAR = 6.0  # pixels: points so near the right one are no negatives
ON_LINE = 3.0  # pixels from the epipolar line: a match may be right
COVERED = 24.0  # pixels from a track: the other view shows a point so near


def track_terms(
    output0: DenseOutput, output1: DenseOutput, tracks: Tracks
) -> dict[str, Tensor]:
    """(T,) terms of T pairs of photos of one scene.

    tracks: each track must find its own place in the other photo among all cells'
        points there.
    epipolar: a point near the tracks whose best match leaves its epipolar line is wrong
        and should score low; the scores alone learn from it.
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
    """(B, M, 2) positions of all cells, without gradient."""
    return output.positions.detach().flatten(2).transpose(1, 2)


def _find_tracks(
    output0: DenseOutput,
    points0: Tensor,
    output1: DenseOutput,
    points1: Tensor,
    mask: Tensor,
) -> Tensor:
    """(T,) mean cross-entropy of each track's place in view 1 against all cells."""
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
    """(T,) mean centered product of scores and wrongness, as in `losses.usp_loss`."""
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
        distance: (T, M) pixels of that point from the epipolar line.
        mutual: (T, M) bool, the match also holds the other way.
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
