"""Describe the parameters of the node, and turn them into options of kpextract."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from kpextract.backends import BACKENDS
from kpextract.image import MAX_UPSCALE, MIN_SIDE
from kpextract.selection import MIN_SCORE, SELECTIONS
from kpextract.video.tracking import MIN_SIMILARITY

Value = bool | int | float | str
MAX_KEYPOINTS = 100_000
MAX_PIXELS = 65_535  # per side
MAX_THREADS = 1024


class Parameter(NamedTuple):
    """Describe one parameter; its type is that of its default."""

    name: str
    default: Value
    description: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()


PARAMETERS = (
    Parameter("autostart", True, "Configure and activate at start, without a manager."),
    Parameter("compressed", False, "Subscribe to image/compressed instead of image."),
    Parameter("reliable", False, "Ask for reliable images: lost parts are sent again."),
    Parameter("mask", "", "Path of an image that is black where no keypoints may be."),
    Parameter("rectified", False, "The images are rectified: rays use P, not K and D."),
    Parameter("tracking", False, "Track keypoints: field `id`, and the topic tracks."),
    Parameter(
        "min_similarity", MIN_SIMILARITY, "Min cosine that extends a track.", -1.0, 1.0
    ),
    Parameter("model", "small", "Bundled name, or path of an .onnx or .engine file."),
    Parameter(
        "backend", "auto", "Runtime and device.", choices=("auto", *sorted(BACKENDS))
    ),
    Parameter("precision", "", "int8 for 8-bit integers.", choices=("", "int8")),
    Parameter("max_keypoints", 1024, "Max keypoints per image.", 1, MAX_KEYPOINTS),
    Parameter("min_score", MIN_SCORE, "Min score of a keypoint.", 0.0, 1.0),
    Parameter(
        "selection", "strongest", "Which points are kept.", choices=tuple(SELECTIONS)
    ),
    Parameter(
        "max_size", 0, "Max longer side in pixels; 0 never shrinks.", 0, MAX_PIXELS
    ),
    Parameter(
        "upscale", 1.0, "Enlarge images: more precise, slower.", 1.0, MAX_UPSCALE
    ),
    Parameter("octaves", 1, "2 also searches the image at half its size.", 1, 2),
    Parameter(
        "min_distance", 0.0, "Min distance of two keypoints in pixels.", 0.0, 1000.0
    ),
    Parameter(
        "intensity_range", "full", "Values of 16-bit images: full, auto or LOW,HIGH."
    ),
    Parameter(
        "num_threads", 0, "CPU threads; 0 leaves it to the runtime.", 0, MAX_THREADS
    ),
)
BY_NAME = {each.name: each for each in PARAMETERS}


def why_invalid(name: str, value: Any) -> str | None:
    """Return why a parameter cannot have a value; None if it can.

    Types and ranges are checked by rclpy too, which words them less well.
    """
    known = BY_NAME.get(name)
    if known is None:
        return None  # rclpy's own, such as use_sim_time
    wanted = type(known.default)
    if type(value) is not wanted:
        return f"{name} must be of type {wanted.__name__}, got {value!r}"
    if known.choices and value not in known.choices:
        allowed = ", ".join(map(repr, known.choices))
        return f"{name} must be one of {allowed}, got {value!r}"
    if known.low is not None and not known.low <= value <= known.high:
        return f"{name} must be from {known.low} to {known.high}, got {value}"
    if name == "max_size" and 0 < value < MIN_SIDE:
        return f"max_size must be 0 or at least {MIN_SIDE}, got {value}"
    if name == "intensity_range" and _intensity_range(value) is None:
        return f"intensity_range must be full, auto or like 7000,9000, got {value!r}"
    return None


def _intensity_range(text: str) -> str | tuple[float, float] | None:
    """Return the option that a text stands for; None if it stands for none."""
    if text in ("full", "auto"):
        return text
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        return None
    return (low, high) if low < high else None


def extractor_options(values: Mapping[str, Value]) -> dict[str, Any]:
    """Return the arguments of `kpextract.Extractor` that parameters stand for.

    Args:
        values: of all parameters by name, each valid.
    """
    same = (
        *("model", "backend", "max_keypoints", "min_score", "selection"),
        *("octaves", "upscale", "min_distance"),
    )
    options: dict[str, Any] = {name: values[name] for name in same}
    for name in ("precision", "max_size", "num_threads"):
        options[name] = values[name] or None
    options["intensity_range"] = _intensity_range(str(values["intensity_range"]))
    return options
