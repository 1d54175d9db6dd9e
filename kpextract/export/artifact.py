"""Write a model and its sidecar; needs neither PyTorch nor ONNX."""

from pathlib import Path

from kpextract.cards import EngineCard, ModelCard
from kpextract.files import replacing
from kpextract.modelfile import sidecar_path


def refuse_existing(paths: list[Path], force: bool) -> None:
    """Raise if a path exists, unless `force`: a published model is never changed.

    Raises:
        FileExistsError: it does.
    """
    existing = [str(path) for path in paths if path.exists()]
    if existing and not force:
        raise FileExistsError(
            f"{', '.join(existing)} exists. A published model is never changed: give "
            "another name, or --force to replace it."
        )


def write_model(path: Path, content: bytes, card: ModelCard | EngineCard) -> None:
    """Write a model and the JSON beside it, each whole or not at all.

    The model is on the disk before either gets its name: a disk that is full keeps the
    older pair. The sidecar is renamed first and holds the hash of the model. A stop
    between the two leaves a sidecar alone or one that does not fit the older model
    beside it, which the loader refuses; never a model without a sidecar, which it would
    believe.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)
        card.write(sidecar_path(path))
