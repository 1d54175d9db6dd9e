"""kpextract and its peers behind one call."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from kpextract import Extractor, Features, match

Detect = Callable[[np.ndarray], Features]
Match = Callable[[Features, Features], np.ndarray]


@dataclass(frozen=True)
class Candidate:
    """An extractor with the matcher that is customary for it.

    Attributes:
        detect: (H, W, 3) uint8 BGR to features, best first, at most the budget.
        match: mutual nearest neighbours, (M, 2) indices.
        sha256: of the model file; None for what has no model.
    """

    name: str
    detect: Detect
    match: Match
    sha256: str | None = None


def open_candidate(name: str, max_keypoints: int) -> Candidate:
    """An OpenCV extractor by its name in capitals, else a kpextract model.

    Args:
        name: "ORB", "SIFT", or a bundled name or path for `Extractor`.
        max_keypoints: the budget of an image.
    """
    if name == "ORB":
        return _from_opencv(name, cv2.ORB_create(max_keypoints), cv2.NORM_HAMMING)
    if name == "SIFT":
        return _from_opencv(name, cv2.SIFT_create(max_keypoints), cv2.NORM_L2)
    extractor = Extractor(name, max_keypoints=max_keypoints)
    info = extractor.info
    label = f"kpextract {info.model} {info.version}"
    return Candidate(label, extractor.detect, match, info.sha256)


def _from_opencv(name: str, detector: cv2.Feature2D, norm: int) -> Candidate:
    budget = detector.getMaxFeatures() if name == "ORB" else detector.getNFeatures()

    def detect(image: np.ndarray) -> Features:
        keypoints, descriptors = detector.detectAndCompute(image, None)
        # OpenCV may return a few more than it was asked for.
        best = sorted(range(len(keypoints)), key=lambda i: -keypoints[i].response)[
            :budget
        ]
        points = np.array([keypoints[i].pt for i in best], np.float32).reshape(-1, 2)
        scores = np.array([keypoints[i].response for i in best], np.float32)
        rows = np.empty((0, 1), np.uint8) if descriptors is None else descriptors[best]
        return Features(points, scores, rows, (image.shape[1], image.shape[0]))

    def match_mutual(features0: Features, features1: Features) -> np.ndarray:
        if not len(features0) or not len(features1):
            return np.empty((0, 2), dtype=np.intp)
        matcher = cv2.BFMatcher(norm, crossCheck=True)
        found = matcher.match(features0.descriptors, features1.descriptors)
        return np.array([(m.queryIdx, m.trainIdx) for m in found]).reshape(-1, 2)

    return Candidate(f"{name} (OpenCV {cv2.__version__})", detect, match_mutual)
