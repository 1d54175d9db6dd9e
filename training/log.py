"""Training log: JSON lines, and a plot of them."""

import json
from pathlib import Path
from typing import Any

from kpextract.files import replacing


def append(path: Path, record: dict[str, Any]) -> None:
    """Append one record."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def read(path: Path) -> list[dict[str, Any]]:
    """Read all records; a last line truncated by a kill is dropped."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


def cut_back(path: Path, step: int) -> None:
    """Drop records after `step`: a resumed run repeats those steps."""
    if not path.exists():
        return
    kept = [record for record in read(path) if record["step"] <= step]
    with replacing(path) as temporary:
        temporary.write_text("".join(json.dumps(record) + "\n" for record in kept))


def plot(path: Path, picture: Path) -> None:
    """Plot losses and validation metrics over the pairs seen."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    records = read(path)
    losses = [record for record in records if "losses" in record]
    checks = [record for record in records if "validation" in record]
    figure, axes = pyplot.subplots(1, 3, figsize=(15, 4), layout="constrained")
    for name in losses[0]["losses"] if losses else ():
        x = [record["pairs"] for record in losses]
        axes[0].plot(x, [record["losses"][name] for record in losses], label=name)
    shares = ("repeatability", "recall", "matching_score", "matching_accuracy")
    pixels = ("mean_distance", "localization_error")
    for axis, names in ((axes[1], shares), (axes[2], pixels)):
        for name in names:
            x = [record["pairs"] for record in checks]
            y = [record["validation"][name] for record in checks]
            axis.plot(x, y, marker=".", label=name)
    titles = ("losses", "held-out photos", "held-out photos, pixels")
    for axis, title in zip(axes, titles, strict=True):
        axis.set(title=title, xlabel="pairs seen")
        axis.grid(alpha=0.3)
        if axis.get_legend_handles_labels()[0]:
            axis.legend()
    with replacing(picture) as temporary:
        figure.savefig(temporary)
    pyplot.close(figure)
