"""Test which format an output gets, and what is said where there is none."""

import sys

import pytest

from kpextract.errors import MissingPackageError, StoreError
from kpextract.formats import load, open_store, save
from kpextract.formats.table import TABLE, format_of
from tests.kpextract.formats.samples import SETTINGS, features, same


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("out", "npz"),
        ("out.H5", "hdf5"),
        ("out.hdf5", "hdf5"),
        ("out.parquet", "parquet"),
        ("out.db", "colmap"),
    ],
)
def test_the_suffix_chooses(name, expected):
    assert format_of(name) == expected


def test_a_name_goes_before_the_suffix_and_contents_tell_later(tmp_path):
    path = tmp_path / "out.d"
    save(path, {"a.jpg": features(1)}, "parquet")
    assert format_of(path) == "parquet"
    assert same(load(path)["a.jpg"], features(1))


def test_what_is_unknown_is_refused_with_what_is_known(tmp_path):
    with pytest.raises(StoreError, match=r"suffix '\.xyz'.*\.h5, \.hdf5, \.parquet"):
        format_of("out.xyz")
    with pytest.raises(StoreError, match=r"got 'hdf'\. Did you mean hdf5\?"):
        format_of("out", "hdf")
    with pytest.raises(StoreError, match="format npz has no option descriptors; it"):
        open_store(tmp_path / "out", SETTINGS, descriptors="float16")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(StoreError, match=r"cannot write .*no/x\.h5: .*no is not a dir"):
        open_store(tmp_path / "no" / "x.h5", SETTINGS)


def test_save_replaces_nothing(tmp_path):
    save(tmp_path / "out", {"a.jpg": features(1)})
    with pytest.raises(StoreError, match="out exists"):
        save(tmp_path / "out", {})


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [
        ("out.h5", "h5py", "hdf5"),
        ("out.parquet", "pyarrow", "parquet"),
        ("out.db", "pycolmap", "colmap"),
    ],
)
def test_a_missing_package_is_said_with_its_install_line(
    tmp_path, monkeypatch, name, module, extra
):
    def missing(wanted, *_):
        raise ModuleNotFoundError(f"No module named {wanted!r}", name=wanted)

    real = sys.modules["importlib"].import_module

    def import_module(wanted, *rest):
        return missing(wanted) if wanted.split(".")[0] == module else real(wanted)

    monkeypatch.setattr("kpextract.packages.importlib.import_module", import_module)
    with pytest.raises(
        MissingPackageError, match=rf'pip install "kpextract\[{extra}\]"'
    ):
        open_store(tmp_path / name, SETTINGS)
    assert TABLE[format_of(name)].extra == extra
    assert list(tmp_path.iterdir()) == []
