"""Combine the losses into recipes: the paper's, ours, and learning from a teacher."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from kpextract.image import STRIDE
from training import losses
from training.correspondence import Moved
from training.metrics import EPSILON_CORRESPOND
from training.neighbors import nearest_distances, redundant
from training.network import DenseOutput, to_relative
from training.real.scene_objective import track_terms
from training.refinement import Refined
from training.sampling import sample_descriptors, sample_map
from training.truth import Truth

Terms = dict[str, Tensor]  # weighted terms by name, each a mean over the batch
Weights = dict[str, float]

# The terms of each recipe and their weights. Those of "default" apply to means over the
# visible points, those of "paper" to the paper's sums.
WEIGHTS = {
    "default": {
        "position": 1.0,
        "refinement": 1.0,
        "sigma": 0.1,
        "score": 2.0,
        "usp": 2.0,
        "contrastive": 1.0,
        "tracks": 1.0,
        "epipolar": 1.0,
        # Off: the paper's descriptor terms as means, for comparison. 2.1 and 2.8 match
        # the paper's balance at 1200 points and 256 dimensions.
        "descriptor": 0.0,
        "decorrelation": 0.0,
        # Parts of a point's cost besides its distance; 1 is the cost of being 4 px off.
        "retrieval": 1.0,  # probability that its descriptor fails to retrieve it
        "double": 0.5,  # it duplicates another cell's point
        "precision": 0.0,  # its distance as a share of 1 px, at most 1
    },
    "paper": {
        "position": 1.0,
        "score": 2.0,
        "usp": 1.0,
        "uniformity": 100.0,
        "descriptor": 0.001,
        "decorrelation": 0.03,
    },
    # Means over the cells.
    "distillation": {
        "descriptors": 5.0,
        "norms": 0.1,
        "logits": 1.0,
        "positions": 1.0,
    },
}
TEMPERATURE = 0.1  # of the cosine in the dual softmax
NEAR = 6.0  # pixels: closer points are not negatives
DOUBLE = 3.0  # pixels: closer points of one view are duplicates
PRECISE = 1.0  # pixels: a distance of more is not precise at all
# Fraction of the position loss weighted by score: the position of a point that is never
# selected is not worth capacity.
BY_SCORE = 0.85
TAUGHT_BY_SCORE = 0.7  # the same for what a teacher says of a cell
MATCHED = 3.0  # pixels: only closer partners train the uncertainty


class Views(NamedTuple):
    """Network outputs for both views of a batch of pairs.

    refined0, refined1: None for a network without refinement.
    """

    output0: DenseOutput
    output1: DenseOutput
    refined0: Refined | None = None
    refined1: Refined | None = None

    def split(self, count: int) -> tuple["Views", "Views"]:
        """Split into the first `count` pairs and the rest."""
        halves = []
        for part in (slice(None, count), slice(count, None)):
            cut = [
                None if maps is None else type(maps)(*(tensor[part] for tensor in maps))
                for maps in self
            ]
            halves.append(Views(*cut))
        return halves[0], halves[1]


def points_of(output: DenseOutput) -> Tensor:
    """Return (B, M, 2) positions, row by row."""
    return output.positions.flatten(2).transpose(1, 2)


def scores_of(output: DenseOutput) -> Tensor:
    """Return (B, M) scores in [0, 1], row by row."""
    return torch.sigmoid(output.score_logits.flatten(1))


def image_size(output: DenseOutput) -> tuple[int, int]:
    """Return (height, width) of the image in pixels."""
    height, width = output.score_logits.shape[-2:]
    return height * STRIDE, width * STRIDE


def _descriptors(output: DenseOutput, points: Tensor) -> Tensor:
    stride = image_size(output)[0] // output.descriptor_map.shape[-2]
    return sample_descriptors(output.descriptor_map, points, stride)


@torch.no_grad()
def _doubles(output: DenseOutput, refined: Refined | None) -> Tensor:
    """Return (B, M) bool, True for points that duplicate another cell's point."""
    offsets = (to_relative(output.positions) - 0.5).abs().amax(dim=1, keepdim=True)
    final = output.positions if refined is None else refined.positions
    return redundant(final, offsets, DOUBLE)


def paper_objective(views: Views, truth: Truth, weights: Weights) -> Terms:
    """Return the terms of the paper's L_total: sums per image, averaged over images."""
    output0, output1 = views.output0, views.output1
    points0, points1 = points_of(output0), points_of(output1)
    scores0, scores1 = scores_of(output0), scores_of(output1)
    warped0 = truth.forward(points0).points
    indices, distances = losses.nearest_points(warped0, points1)
    paired = distances < EPSILON_CORRESPOND
    paired_scores1 = torch.gather(scores1, 1, indices)
    descriptors0 = _descriptors(output0, points0)
    descriptors1 = _descriptors(output1, points1)
    matrix = losses.distance_matrix(warped0.detach(), points1.detach())
    relative = [
        to_relative(output.positions).flatten(2).transpose(1, 2)
        for output in (output0, output1)
    ]
    terms = {
        "position": losses.position_loss(distances, paired),
        "score": losses.score_loss(scores0, paired_scores1, paired),
        "usp": losses.usp_loss(distances, scores0, paired_scores1, paired),
        "uniformity": sum(losses.uniformity_loss(view) for view in relative),
        "descriptor": losses.descriptor_loss(descriptors0, descriptors1, matrix),
        "decorrelation": losses.decorrelation_loss(descriptors0)
        + losses.decorrelation_loss(descriptors1),
    }
    return _weighted(terms, weights)


def default_objective(views: Views, truth: Truth, weights: Weights) -> Terms:
    """Return the terms of our recipe.

    It differs from the paper's:

    - Every visible point counts, with its distance clamped at epsilon: in the paper a
      point without a partner never learns that it is bad.
    - Positions learn in both directions, and from position_loss alone: the centered usp
      term would push the worse half of the pairs apart. Points with a high score and
      pairs in fair light weigh more.
    - With a refinement, positions, scores and refinement all learn from the distance
      that is left after it.
    - The cost of a point is its clamped distance, plus the probability that its
      descriptor fails to retrieve it (a corner that repeats but looks like ten others
      is not a keypoint), plus a surcharge if it duplicates another cell's point. A
      point that cannot repeat (occluded, or on a depth edge) has the maximum cost.
    - The partner's score and descriptor are sampled from view 1's maps at T p.
    - Dual softmax replaces hinge and decorrelation; means replace sums.
    """
    planes, scenes = views.split(len(truth.fair))
    terms = _dense_terms(planes, truth, weights)
    if truth.tracks is not None:
        terms |= track_terms(scenes.output0, scenes.output1, truth.tracks)
    return _weighted(terms, weights)


def _dense_terms(views: Views, truth: Truth, weights: Weights) -> Terms:
    """Return the terms of pairs with a dense correspondence."""
    output0, output1 = views.output0, views.output1
    moved0 = truth.forward(points_of(output0))
    visible0, warped0 = moved0.visible, moved0.points
    count0 = visible0.sum(dim=1).clamp(min=1)
    terms, clamped0 = _distance_terms(views, truth)
    scores0 = scores_of(output0)
    score_map1 = torch.sigmoid(output1.score_logits)
    scores1 = sample_map(score_map1, warped0.detach(), STRIDE)[..., 0]
    descriptors0 = _descriptors(output0, points_of(output0).detach())
    descriptors1 = _descriptors(output1, warped0.detach())
    contrastive, found = losses.contrastive_loss(
        descriptors0,
        descriptors1,
        warped0,
        visible0,
        temperature=TEMPERATURE,
        radius=NEAR,
    )
    costs = clamped0 / EPSILON_CORRESPOND + weights["retrieval"] * (1 - found)
    costs = costs + weights["precision"] * clamped0.clamp(max=PRECISE) / PRECISE
    most = 1 + weights["retrieval"] + weights["precision"]
    costs = torch.where(moved0.lost, most, costs)
    costs = costs + weights["double"] * _doubles(output0, views.refined0)
    judged = visible0 | moved0.lost
    partners1 = torch.where(moved0.lost, scores0, scores1)
    usp = losses.usp_loss(costs, scores0, partners1, judged)
    terms |= {
        "score": truth.fair * losses.score_loss(scores0, scores1, visible0) / count0,
        "usp": usp / judged.sum(dim=1).clamp(min=1),
        "contrastive": contrastive / count0,
    }
    if weights["descriptor"]:
        terms["descriptor"] = _mean_hinge(descriptors0, descriptors1, warped0)
    if weights["decorrelation"]:
        terms["decorrelation"] = _mean_decorrelation(descriptors0, descriptors1)
    return terms


def _distance_terms(views: Views, truth: Truth) -> tuple[Terms, Tensor]:
    """Return the position terms, and view 0's clamped distances without gradient."""
    regressed = (views.output0.positions, views.output1.positions)
    scores = (scores_of(views.output0), scores_of(views.output1))
    terms: Terms = {}
    terms["position"], (clamped, _) = _both_ways(regressed, scores, truth)
    if views.refined0 is not None and views.refined1 is not None:
        refined = (views.refined0.positions, views.refined1.positions)
        terms["refinement"], (clamped, moved) = _both_ways(refined, scores, truth)
        log_sigma0 = views.refined0.log_sigma.flatten(1)
        log_sigma1 = sample_map(views.refined1.log_sigma, moved.points.detach(), STRIDE)
        terms["sigma"] = losses.uncertainty_loss(
            clamped.detach(),
            log_sigma0,
            log_sigma1[..., 0],
            moved.visible & (clamped < MATCHED),
        )
    return terms, clamped.detach()


def _both_ways(
    positions: tuple[Tensor, Tensor], scores: tuple[Tensor, Tensor], truth: Truth
) -> tuple[Tensor, tuple[Tensor, Moved]]:
    """Return (B,) position losses, and view 0's clamped distances and moved points."""
    loss, firsts = torch.zeros_like(truth.fair), []
    for here, there, own, move in (
        (positions[0], positions[1], scores[0], truth.forward),
        (positions[1], positions[0], scores[1], truth.backward),
    ):
        moved = move(here.flatten(2).transpose(1, 2))
        clamped = nearest_distances(moved.points, there).clamp(max=EPSILON_CORRESPOND)
        counts = moved.visible.sum(dim=1).clamp(min=1)
        weighted = clamped * _by_score(own, moved.visible)
        loss = loss + losses.position_loss(weighted, moved.visible) / counts
        firsts.append((clamped, moved))
    return truth.fair * loss, firsts[0]


def distillation_objective(views: Views, truth: Truth, weights: Weights) -> Terms:
    """Return the terms of learning a teacher's maps, cell by cell.

    Cells that the teacher scores higher weigh more: most others are never chosen.
    Descriptors learn direction and relative length, which bilinear interpolation uses.
    """
    assert truth.lessons is not None
    outputs = (views.output0, views.output1)
    each = [
        _taught_terms(output, lesson)
        for output, lesson in zip(outputs, truth.lessons, strict=True)
    ]
    terms = {name: torch.stack([view[name] for view in each]) for name in each[0]}
    return _weighted(terms, weights)


def _taught_terms(output: DenseOutput, lesson: DenseOutput) -> Terms:
    """Return the terms of one view, for each cell or place of the descriptor map."""
    scores = scores_of(lesson)
    weight = _by_score(scores, torch.ones_like(scores), TAUGHT_BY_SCORE)
    found, taught = output.descriptor_map.float(), lesson.descriptor_map.float()
    cosine = F.cosine_similarity(found, taught, dim=1)
    stride = cosine.shape[-1] // output.score_logits.shape[-1]  # of cells in the map
    lengths = (each.norm(dim=1) for each in (found, taught))
    relative = [length / length.mean() for length in lengths]
    apart = (output.positions - lesson.positions).norm(dim=1)
    return {
        "descriptors": weight * F.avg_pool2d(1 - cosine, stride).flatten(1),
        "norms": (relative[0] - relative[1]).square(),
        "logits": F.smooth_l1_loss(
            output.score_logits, lesson.score_logits, reduction="none"
        ),
        "positions": weight * apart.flatten(1),
    }


def _by_score(scores: Tensor, mask: Tensor, share: float = BY_SCORE) -> Tensor:
    """Return (B, M) weights, mostly proportional to score; mean 1 over `mask`."""
    scores = scores.detach()
    mean = (scores * mask).sum(dim=1, keepdim=True)
    mean = mean / mask.sum(dim=1, keepdim=True).clamp(min=1)
    return 1 - share + share * scores / mean.clamp(min=1e-6)


def _weighted(terms: Terms, weights: Weights) -> Terms:
    """Average terms over the batch and weight them; drop terms of zero weight."""
    return {
        name: weights[name] * term.mean()
        for name, term in terms.items()
        if weights[name]
    }


def _mean_hinge(descriptors0: Tensor, descriptors1: Tensor, points1: Tensor) -> Tensor:
    """Return the paper's (B,) descriptor loss as a mean over pairs of points."""
    distances = losses.distance_matrix(points1.detach(), points1.detach())
    hinge = losses.descriptor_loss(descriptors0, descriptors1, distances)
    return hinge / points1.shape[1] ** 2


def _mean_decorrelation(descriptors0: Tensor, descriptors1: Tensor) -> Tensor:
    """Return the paper's (B,) decorrelation loss as a mean over dimension pairs."""
    width = descriptors0.shape[2]
    both = losses.decorrelation_loss(descriptors0)
    both = both + losses.decorrelation_loss(descriptors1)
    return both / (width * (width - 1))


Objective = Callable[[Views, Truth, Weights], Terms]
OBJECTIVES: dict[str, Objective] = {
    "default": default_objective,
    "paper": paper_objective,
    "distillation": distillation_objective,
}


def choose_objective(recipe: str, changes: Weights) -> tuple[Objective, Weights]:
    """Return a recipe's objective, and its weights after `changes`.

    Raises:
        ValueError: the recipe has no weight of that name.
    """
    unknown = sorted(set(changes) - set(WEIGHTS[recipe]))
    if unknown:
        raise ValueError(
            f"recipe {recipe} has no weight {', '.join(unknown)}. "
            f"Choose from {', '.join(WEIGHTS[recipe])}."
        )
    return OBJECTIVES[recipe], WEIGHTS[recipe] | changes
