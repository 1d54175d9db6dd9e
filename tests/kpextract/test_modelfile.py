"""How a model is found, and what proves that it is the right one."""

import shutil
from dataclasses import replace

import pytest

from kpextract import Extractor, InvalidOptionError, ModelError
from kpextract.export.artifact import write_model
from kpextract.files import digest
from kpextract.modelfile import BUNDLED, MODELS, bundled_models, find_model


@pytest.fixture
def copied(tmp_path):
    """Path of a copy of the bundled model, its sidecar beside it."""
    for suffix in (".onnx", ".json"):
        shutil.copy(MODELS / f"small{suffix}", tmp_path)
    return tmp_path / "small.onnx"


def test_small_is_bundled():
    assert "small" in bundled_models()


def test_the_sidecar_describes_the_file():
    found = find_model("small")
    assert found.card.sha256 == found.sha256
    assert (found.card.name, found.card.stride) == ("small", 8)


def test_a_path_works_like_a_name(copied, photo):
    features = Extractor(copied).detect(photo)
    assert len(features) == 1024


def test_a_path_works_without_a_sidecar(copied):
    copied.with_suffix(".json").unlink()
    assert Extractor(str(copied)).info.version == Extractor("small").info.version


def test_one_changed_byte_is_found(copied):
    content = bytearray(copied.read_bytes())
    content[len(content) // 2] ^= 1
    copied.write_bytes(content)
    with pytest.raises(ModelError, match=r"corrupt or was replaced.*kpextract export"):
        Extractor(copied)


def test_a_sidecar_without_a_hash_is_no_proof(copied):
    copied.with_suffix(".json").write_text("{}")
    with pytest.raises(ModelError, match="lacks sha256, name"):
        Extractor(copied)


def test_a_bundled_model_must_have_its_sidecar(copied, monkeypatch):
    copied.with_suffix(".json").unlink()
    monkeypatch.setattr("kpextract.modelfile.MODELS", copied.parent)
    with pytest.raises(ModelError, match="lacks its sidecar"):
        find_model("small")


def test_the_code_knows_every_model_that_is_shipped():
    hashes = {p.stem: digest(p.read_bytes()) for p in MODELS.glob("*.onnx")}
    assert hashes == BUNDLED


def test_a_bundled_model_replaced_together_with_its_sidecar_is_refused(
    copied, monkeypatch
):
    content = copied.read_bytes() + b"\xf8\x07\x01"  # an unknown field
    card = replace(find_model("small").card, sha256=digest(content))
    write_model(copied, content, card)
    assert find_model(copied).sha256 == digest(content)  # as a path it is consistent
    monkeypatch.setattr("kpextract.modelfile.MODELS", copied.parent)
    with pytest.raises(ModelError, match=r"was replaced\. Reinstall"):
        find_model("small")


def test_a_directory_in_place_of_the_sidecar_is_refused(copied):
    copied.with_suffix(".json").unlink()
    copied.with_suffix(".json").mkdir()
    with pytest.raises(ModelError, match=r"small\.json is not a file"):
        find_model(copied)


def test_a_name_that_no_file_can_have_is_an_error():
    for name in ("x" * 300, "nul\0byte"):
        with pytest.raises(ModelError, match="neither a bundled name"):
            find_model(name)


@pytest.mark.parametrize("sidecar", ["{", "[]", "3"])
def test_a_broken_sidecar_is_an_error(copied, sidecar):
    copied.with_suffix(".json").write_text(sidecar)
    with pytest.raises(ModelError, match="JSON"):
        Extractor(copied)


@pytest.mark.parametrize("content", [b"", b"not a model"])
def test_a_file_that_is_no_model_is_an_error(tmp_path, content):
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"x\.onnx"):
        Extractor(path)


def test_an_onnx_model_of_someone_else_is_an_error(copied):
    import onnx

    copied.with_suffix(".json").unlink()
    model = onnx.load(copied)
    del model.metadata_props[:]
    onnx.save(model, copied)
    with pytest.raises(ModelError, match=r"kpextract\.kind"):
        Extractor(copied)


def test_a_given_path_must_exist(tmp_path):
    with pytest.raises(ModelError, match=r"no\.onnx"):
        Extractor(tmp_path / "no.onnx")


def test_a_precision_is_a_bundled_model_of_its_own():
    info = Extractor(precision="int8").info
    assert (info.model, info.precision) == ("small-int8", "int8")
    assert info.sha256 == find_model("small-int8").sha256


@pytest.mark.parametrize("model", ["base", MODELS / "small.onnx"])
def test_a_precision_that_is_not_bundled_is_told(model):
    with pytest.raises(InvalidOptionError, match="Bundled are small-int8"):
        Extractor(model, precision="int8")
