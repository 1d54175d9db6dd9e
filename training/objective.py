"""What is minimised: the losses put together, once as in the paper and once as ours."""

from collections.abc import Callable

import torch
from torch import Tensor

from kpextract.image import STRIDE
from training import losses
from training.homography import inside, warp_points
from training.metrics import EPSILON_CORRESPOND
from training.neighbors import nearest_distances, redundant
from training.network import DenseOutput, to_relative
from training.sampling import sample_descriptors, sample_map

Terms = dict[str, Tensor]  # weighted terms by name, each the mean over the batch
Weights = dict[str, float]

# The terms of each recipe and their weights. Those of "default" belong to means over
# the visible points, those of "paper" to the paper's sums.
WEIGHTS = {
    "default": {
        "position": 1.0,
        "score": 2.0,
        "usp": 2.0,
        "contrastive": 1.0,
        # Off: the paper's descriptor terms as means, for comparison. 2.1 and 2.8 are
        # the paper's balance with 1200 points and 256 dimensions.
        "descriptor": 0.0,
        "decorrelation": 0.0,
        # In the cost of a point, beside its distance; 1 is that of a point 4 px off.
        "retrieval": 1.0,  # that its descriptor fails to find it
        "double": 0.5,  # that it doubles another cell's point
    },
    "paper": {
        "position": 1.0,
        "score": 2.0,
        "usp": 1.0,
        "uniformity": 100.0,
        "descriptor": 0.001,
        "decorrelation": 0.03,
    },
}
TEMPERATURE = 0.1  # of the cosine in the dual softmax
NEAR = 6.0  # pixels: neighbours that are no negatives
DOUBLE = 3.0  # pixels: two points so near are one


def points_of(output: DenseOutput) -> Tensor:
    """(B, M, 2) positions, row by row."""
    return output.positions.flatten(2).transpose(1, 2)


def scores_of(output: DenseOutput) -> Tensor:
    """(B, M) scores in [0, 1], row by row."""
    return torch.sigmoid(output.score_logits.flatten(1))


def image_size(output: DenseOutput) -> tuple[int, int]:
    """(height, width) of the image in pixels."""
    height, width = output.score_logits.shape[-2:]
    return height * STRIDE, width * STRIDE


def _descriptors(output: DenseOutput, points: Tensor) -> Tensor:
    stride = image_size(output)[0] // output.descriptor_map.shape[-2]
    return sample_descriptors(output.descriptor_map, points, stride)


def _clamped_distances(points: Tensor, output: DenseOutput) -> Tensor:
    """(B, M) distances to the nearest point of the other view, at most epsilon."""
    distances = nearest_distances(points, output.positions)
    return distances.clamp(max=EPSILON_CORRESPOND)


@torch.no_grad()
def _doubles(output: DenseOutput) -> Tensor:
    """(B, M) bool: does a point double that of another cell?"""
    offsets = (to_relative(output.positions) - 0.5).abs().amax(dim=1, keepdim=True)
    return redundant(output.positions, offsets, DOUBLE)


def paper_objective(
    output0: DenseOutput, output1: DenseOutput, homography: Tensor, weights: Weights
) -> Terms:
    """L_total of the paper: sums over an image, averaged over images."""
    points0, points1 = points_of(output0), points_of(output1)
    scores0, scores1 = scores_of(output0), scores_of(output1)
    warped0 = warp_points(homography, points0)
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


def default_objective(
    output0: DenseOutput, output1: DenseOutput, homography: Tensor, weights: Weights
) -> Terms:
    """Ours. Differs from the paper:

    - every visible point counts, its distance clamped at epsilon: in the paper a point
      without a partner is never told that it is bad;
    - positions learn from both directions, and from position_loss alone: the centred
      usp term would push the worse half of the pairs apart;
    - the cost of a point is its clamped distance, *and* the probability that its
      descriptor fails to find it (a corner that repeats but looks like ten others is no
      keypoint), *and* a surcharge where it only doubles another cell's point;
    - the partner's score and descriptor are read from view 1's maps at T p;
    - dual softmax in place of hinge and decorrelation; means in place of sums.
    """
    points0, points1 = points_of(output0), points_of(output1)
    size = image_size(output0)
    warped0 = warp_points(homography, points0)
    warped1 = warp_points(torch.linalg.inv(homography), points1)
    visible0, visible1 = inside(warped0, size), inside(warped1, size)
    count0, count1 = (seen.sum(dim=1).clamp(min=1) for seen in (visible0, visible1))
    clamped0 = _clamped_distances(warped0, output1)
    clamped1 = _clamped_distances(warped1, output0)
    scores0 = scores_of(output0)
    score_map1 = torch.sigmoid(output1.score_logits)
    scores1 = sample_map(score_map1, warped0.detach(), STRIDE)[..., 0]
    descriptors0 = _descriptors(output0, points0.detach())
    descriptors1 = _descriptors(output1, warped0.detach())
    contrastive, found = losses.contrastive_loss(
        descriptors0,
        descriptors1,
        warped0,
        visible0,
        temperature=TEMPERATURE,
        radius=NEAR,
    )
    costs = clamped0.detach() / EPSILON_CORRESPOND + weights["retrieval"] * (1 - found)
    costs = costs + weights["double"] * _doubles(output0)
    terms = {
        "position": losses.position_loss(clamped0, visible0) / count0
        + losses.position_loss(clamped1, visible1) / count1,
        "score": losses.score_loss(scores0, scores1, visible0) / count0,
        "usp": losses.usp_loss(costs, scores0, scores1, visible0) / count0,
        "contrastive": contrastive / count0,
    }
    if weights["descriptor"]:
        terms["descriptor"] = _mean_hinge(descriptors0, descriptors1, warped0)
    if weights["decorrelation"]:
        terms["decorrelation"] = _mean_decorrelation(descriptors0, descriptors1)
    return _weighted(terms, weights)


def _weighted(terms: Terms, weights: Weights) -> Terms:
    """Means over the batch times their weights; what weighs nothing is left out."""
    return {
        name: weights[name] * term.mean()
        for name, term in terms.items()
        if weights[name]
    }


def _mean_hinge(descriptors0: Tensor, descriptors1: Tensor, points1: Tensor) -> Tensor:
    """(B,) the paper's descriptor loss, a mean over the pairs of points."""
    distances = losses.distance_matrix(points1.detach(), points1.detach())
    hinge = losses.descriptor_loss(descriptors0, descriptors1, distances)
    return hinge / points1.shape[1] ** 2


def _mean_decorrelation(descriptors0: Tensor, descriptors1: Tensor) -> Tensor:
    """(B,) the paper's decorrelation loss, a mean over the pairs of dimensions."""
    width = descriptors0.shape[2]
    both = losses.decorrelation_loss(descriptors0)
    both = both + losses.decorrelation_loss(descriptors1)
    return both / (width * (width - 1))


Objective = Callable[[DenseOutput, DenseOutput, Tensor, Weights], Terms]
OBJECTIVES: dict[str, Objective] = {
    "default": default_objective,
    "paper": paper_objective,
}


def choose_objective(recipe: str, changes: Weights) -> tuple[Objective, Weights]:
    """A recipe's objective, and its weights after `changes`.

    Raises:
        ValueError: the recipe has no such weight.
    """
    unknown = sorted(set(changes) - set(WEIGHTS[recipe]))
    if unknown:
        raise ValueError(
            f"recipe {recipe} has no weight {', '.join(unknown)}, "
            f"but {', '.join(WEIGHTS[recipe])}."
        )
    return OBJECTIVES[recipe], WEIGHTS[recipe] | changes
