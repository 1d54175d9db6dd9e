"""Losses of UnsuperPoint (Christiansen et al. 2019, arXiv:1907.04011), and two more.

View 0 is the paper's branch A, view 1 its branch B. Every term is the paper's *sum* per
image, of shape (B,), so that the paper's weights apply as published: with means, the
descriptor would get about 1/2000 of its gradient. Terms carry the paper's symbols, with
the equation written out.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

DESCRIPTOR_RADIUS = 8.0  # pixels: c_ij = 1 up to this distance
POSITIVE_MARGIN = 1.0  # m_p
NEGATIVE_MARGIN = 0.2  # m_n
POSITIVE_WEIGHT = 250.0  # lambda_d: negatives far outnumber positives


def distance_matrix(points0: Tensor, points1: Tensor) -> Tensor:
    """Return G = [g_ij], g_ij = ||p_i^(A->B) - p_j^B||.

    The matrix-multiply shortcut is disabled: it is off by tenths of a pixel.

    Args:
        points0, points1: (B, M0, 2) and (B, M1, 2) in one frame.

    Returns:
        (B, M0, M1) distances in the unit of the points.
    """
    return torch.cdist(points0, points1, compute_mode="donot_use_mm_for_euclid_dist")


def nearest_points(points0: Tensor, points1: Tensor) -> tuple[Tensor, Tensor]:
    """Find the nearest point of view 1 for each point of view 0, in one frame.

    These are the paper's point pairs: neither injective (several points may choose the
    same one) nor mutual. A pair is valid if its distance is below
    `metrics.EPSILON_CORRESPOND`.

    Args:
        points0: (B, M0, 2), already warped into the frame of `points1`.
        points1: (B, M1, 2).

    Returns:
        indices: (B, M0) into `points1`.
        distances: (B, M0) pixels, d_k; gradients flow to both points of a pair.
    """
    with torch.no_grad():
        indices = distance_matrix(points0, points1).argmin(dim=2)
    chosen = torch.gather(points1, 1, indices[..., None].expand(-1, -1, 2))
    # The gradient of the square root diverges at zero; 1e-12 keeps it finite.
    distances = ((points0 - chosen).square().sum(dim=-1) + 1e-12).sqrt()
    return indices, distances


def position_loss(distances: Tensor, mask: Tensor) -> Tensor:
    """Return sum_k l_k^position, l_k^position = d_k.

    Args:
        distances: (B, M) pixels.
        mask: (B, M) bool, True for valid pairs.
    """
    return (distances * mask).sum(dim=1)


def score_loss(scores0: Tensor, scores1: Tensor, mask: Tensor) -> Tensor:
    """Return sum_k l_k^score, l_k^score = (s_k^A - s_k^B)^2.

    It makes a point score alike in both views.

    Args:
        scores0, scores1: (B, M) in [0, 1], of paired points.
        mask: (B, M) bool, True for valid pairs.
    """
    return ((scores0 - scores1).square() * mask).sum(dim=1)


def usp_loss(costs: Tensor, scores0: Tensor, scores1: Tensor, mask: Tensor) -> Tensor:
    """Return sum_k l_k^usp, l_k^usp = s_k (d_k - mean d), s_k = (s_k^A + s_k^B) / 2.

    Pairs closer than the mean of *their image* are rewarded with a high score, the
    others with a low one. Centering makes the sum invariant to a common shift of all
    scores, which is why zero scores everywhere are not a minimum.

    Args:
        costs: (B, M) distances d_k in pixels, or another cost of a bad point.
        scores0, scores1: (B, M) in [0, 1], of paired points.
        mask: (B, M) bool, True for valid pairs.
    """
    mean = (costs * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
    joint = (scores0 + scores1) / 2
    return (joint * (costs - mean[:, None]) * mask).sum(dim=1)


def uncertainty_loss(
    distances: Tensor, log_sigma0: Tensor, log_sigma1: Tensor, mask: Tensor
) -> Tensor:
    """Return the mean negative log-likelihood of distances under Gaussian errors.

    The difference of two points with independent isotropic errors of sigma_0 and
    sigma_1 per axis has variance v = sigma_0^2 + sigma_1^2 per axis, so its length d
    has -log p = log v + d^2 / (2 v) + const (Rayleigh, without the constant log d).

    Args:
        distances: (B, M) pixels, without gradient.
        log_sigma0, log_sigma1: (B, M) natural logarithms of pixels, of paired points.
        mask: (B, M) bool, True for valid pairs.

    Returns:
        (B,) mean over the valid pairs.
    """
    variance = (2 * log_sigma0).exp() + (2 * log_sigma1).exp()
    likelihood = variance.log() + distances.square() / (2 * variance)
    return (likelihood * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def uniformity_loss(relative: Tensor) -> Tensor:
    """Return L^uni_x + L^uni_y of one view.

    L^uni_x = sum_i (x_i^sorted - (i - 1) / (M - 1))^2. Gradients flow through the
    sort's gather, so each value is compared with its own rank.

    Args:
        relative: (B, M, 2) positions within their cells, [0, 1].
    """
    count = relative.shape[1]
    target = torch.linspace(0, 1, count, dtype=relative.dtype, device=relative.device)
    ordered = relative.sort(dim=1).values
    return (ordered - target[:, None]).square().sum(dim=(1, 2))


def descriptor_loss(
    descriptors0: Tensor, descriptors1: Tensor, distances: Tensor
) -> Tensor:
    """Return L^desc, a hinge on every pair of points.

    L^desc = sum_ij lambda_d c_ij max(0, m_p - f_i.f_j)
    + (1 - c_ij) max(0, f_i.f_j - m_n).

    Args:
        descriptors0, descriptors1: (B, M0, D), (B, M1, D) unit rows.
        distances: (B, M0, M1) pixels, from `distance_matrix`.
    """
    similarity = descriptors0 @ descriptors1.transpose(1, 2)
    near = distances <= DESCRIPTOR_RADIUS
    positive = POSITIVE_WEIGHT * (POSITIVE_MARGIN - similarity).clamp(min=0)
    negative = (similarity - NEGATIVE_MARGIN).clamp(min=0)
    return torch.where(near, positive, negative).sum(dim=(1, 2))


def decorrelation_loss(descriptors: Tensor) -> Tensor:
    """Return L^decorr of one view, sum_(i != j) r_ij^2.

    r is the D x D correlation over the points. Unlike in the paper, r is squared, as in
    the L2-Net that the paper cites: the printed sum of r itself has no useful minimum.

    Args:
        descriptors: (B, M, D).
    """
    centered = descriptors - descriptors.mean(dim=1, keepdim=True)
    columns = F.normalize(centered, dim=1)
    correlation = columns.transpose(1, 2) @ columns
    diagonal = correlation.diagonal(dim1=1, dim2=2)
    return correlation.square().sum(dim=(1, 2)) - diagonal.square().sum(dim=1)


def contrastive_loss(
    descriptors0: Tensor,
    descriptors1: Tensor,
    points1: Tensor,
    mask: Tensor,
    *,
    temperature: float,
    radius: float,
) -> tuple[Tensor, Tensor]:
    """Return a dual-softmax alternative to L^desc: each point must find itself.

    It is the symmetric cross-entropy of cosine / temperature, as in SiLK
    (arXiv:2304.06194) and LoFTR (arXiv:2104.00680). Entry i of both views is the same
    point, so the diagonal is correct. Other points within `radius` are not negatives:
    they show nearly the same place.

    Args:
        descriptors0, descriptors1: (B, M, D) unit rows.
        points1: (B, M, 2) the points in one frame, pixels.
        mask: (B, M) bool, True for valid points.
        temperature: divisor of the cosines.
        radius: distance below which two points are not negatives, pixels.

    Returns:
        loss: (B,) sum over the points of the mean of both directions.
        probability: (B, M) probability that the dual softmax picks the correct partner,
            without gradient; 0 where masked.
    """
    scaled = descriptors0 / temperature
    right = (scaled * descriptors1).sum(dim=-1)
    counts = _far_apart(points1.detach(), radius)
    logits = scaled @ descriptors1.transpose(1, 2)
    row_sums, column_sums = _ExpSums.apply(logits, counts, mask.to(logits.dtype))
    # The sums of masked points may be zero; 1 keeps their logarithm finite.
    log_probability0, log_probability1 = (
        right - torch.where(mask, sums, 1).log() for sums in (row_sums, column_sums)
    )
    loss = -((log_probability0 + log_probability1) * mask).sum(dim=1) / 2
    probability = ((log_probability0 + log_probability1).exp() * mask).detach()
    return loss, probability


def _far_apart(points: Tensor, radius: float) -> Tensor:
    """Return (B, M, M) bool, True for points `radius` apart and on the diagonal."""
    # The matrix-multiply shortcut is off by hundredths of a pixel, which is accurate
    # enough for a mask.
    squares = points.square().sum(dim=-1)
    products = points @ points.transpose(1, 2)
    far = squares[:, :, None] - 2 * products >= radius**2 - squares[:, None]
    far.diagonal(dim1=1, dim2=2).fill_(True)
    return far


class _ExpSums(torch.autograd.Function):
    """Sums of exp(logits) over rows and over columns, sharing one exponential.

    These are the largest matrices of a training step, which is bound by the passes over
    them: autograd through two logsumexp takes twice as long. Cosines over a temperature
    of 0.1 stay within 10, so no maximum is subtracted.
    """

    @staticmethod
    def forward(ctx, logits: Tensor, counts: Tensor, mask: Tensor):  # type: ignore
        """Return (B, M) row and column sums of (B, M, M) logits.

        Args:
            ctx: the autograd context.
            logits: (B, M, M).
            counts: (B, M, M) bool, True for entries to sum.
            mask: (B, M) weights of rows and columns.
        """
        exponentials = logits.exp().mul_(counts)
        ctx.save_for_backward(exponentials, mask)
        row_sums = torch.bmm(exponentials, mask[:, :, None])[:, :, 0]
        column_sums = torch.bmm(mask[:, None], exponentials)[:, 0]
        return row_sums, column_sums

    @staticmethod
    def backward(ctx, by_row: Tensor, by_column: Tensor):  # type: ignore
        """Return the gradient of the logits."""
        exponentials, mask = ctx.saved_tensors
        left = torch.stack((by_row, mask), dim=2)
        right = torch.stack((mask, by_column), dim=1)
        return torch.bmm(left, right).mul_(exponentials), None, None
