"""Features as PyTorch tensors, without PyTorch in the runtime."""

import numpy as np
import pytest
import torch

from kpextract import Extractor, Features, match
from kpextract.export.variant import Variant

ARRAYS = ("keypoints", "scores", "descriptors")


@pytest.fixture(scope="module")
def results(photo, write, tmp_path_factory):
    """Return the features of a read-only photo by each way to get some."""
    assert not photo.flags.writeable
    extractor = Extractor(max_keypoints=300)
    found = extractor.detect(photo)
    path = tmp_path_factory.mktemp("features") / "features.npz"
    found.save(path)
    sparse = Extractor(write(Variant(size=(640, 480), max_keypoints=300)))
    return {
        "detected": found,
        "in a batch": extractor.detect_batch([photo, photo])[1],
        "in a stream": next(iter(extractor.stream([photo]))),
        "of a sparse model": sparse.detect(photo),
        "rows": found[::2],
        "none": found[:0],
        "loaded": Features.load(path),
    }


WAYS = ("detected", "in a batch", "in a stream", "of a sparse model", "rows", "none")


@pytest.mark.parametrize("way", [*WAYS, "loaded"])
def test_tensors_share_memory(way, results):
    """NumPy before 2.1 exports only writable arrays."""
    features = results[way].to_dict()
    for name in ARRAYS:
        array = features[name]
        tensor = torch.from_dlpack(array)
        assert array.flags.writeable
        assert tuple(tensor.shape) == array.shape
        assert tensor.dtype == torch.float32
        if array.size:
            assert tensor.data_ptr() == array.ctypes.data


def test_tensors_match_as_arrays_do(photo, other_photo):
    """Mutual nearest neighbors by PyTorch, in the layout of LightGlue, (1, N, D)."""
    features = Extractor(max_keypoints=300).detect_batch([photo, other_photo])
    one, other = (torch.from_dlpack(f.to_dict()["descriptors"])[None] for f in features)
    (similarity,) = one @ other.transpose(1, 2)
    forth, back = similarity.argmax(dim=1), similarity.argmax(dim=0)
    mutual = back[forth] == torch.arange(len(forth))
    pairs = torch.stack([torch.arange(len(forth))[mutual], forth[mutual]], dim=1)
    np.testing.assert_array_equal(pairs.numpy(), match(*features))
