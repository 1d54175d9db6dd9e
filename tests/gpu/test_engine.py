"""Engines on a GPU against ONNX on the CPU. Not yet run on a GPU."""

import hashlib
import json
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from kpextract import Extractor, InvalidImageError, ModelError
from kpextract.cli import main
from kpextract.modelfile import bundled_models

pytestmark = pytest.mark.gpu

VARIANTS = {
    "dense": {"kind": "dense"},
    "dense float16": {"kind": "dense", "fp16": True},
    "sparse": {"kind": "sparse"},
    "sparse float16": {"kind": "sparse", "fp16": True},
    "sparse mask": {"kind": "sparse", "mask": True},
    "sparse 4800": {"kind": "sparse", "size": (640, 480), "max_keypoints": 4800},
}
SIZE = (640, 480)
BATCHES = (1, 8, 32)
CALLS = 20_000
# What a process may grow by once it is warm: a leak of one byte a call is far above.
GROWTH = 4 << 20  # bytes


def verify(reference, other, root, capsys, *options):
    """Exit code and figures of `kpextract verify` on the photos of examples/."""
    photos = sorted(map(str, (root / "examples").glob("street-*.jpg")))
    arguments = ["verify", str(reference), str(other), "--images", *photos]
    code = main([*arguments, "--json", *options])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("model", bundled_models())
@pytest.mark.parametrize("variant", VARIANTS)
def test_engine_finds_what_the_cpu_finds(
    make_engine, package, root, capsys, record, model, variant
):
    engine = make_engine(model, VARIANTS[variant], size=SIZE)
    code, report = verify(model, engine, root, capsys, "--backend-ref", "onnx-cpu")
    record(f"verify {package} {model} {variant}", report)
    assert report["other"]["backend"] == "tensorrt"
    assert (code, report["missed"]) == (0, [])


@pytest.mark.parametrize("model", bundled_models())
@pytest.mark.usefixtures("device")
def test_onnx_cuda_finds_what_the_cpu_finds(root, capsys, record, model):
    code, report = verify(
        model, model, root, capsys, "--backend-ref", "onnx-cpu", "--backend-other",
        "onnx-cuda",
    )  # fmt: skip
    record(f"verify onnx-cuda {model}", report)
    assert report["other"]["backend"] == "onnx-cuda"
    assert (code, report["missed"]) == (0, [])


@pytest.fixture(scope="module")
def photos(photo, other_photo):
    """32 images of 640x480, all different."""
    images = [np.roll(i, 16 * k, 1) for k in range(16) for i in (photo, other_photo)]
    return [np.ascontiguousarray(image) for image in images]


@pytest.fixture(scope="module")
def batched(make_engine):
    """For 1 to 32 images of 640x480."""
    return Extractor(make_engine("small", size=SIZE, batch=(1, max(BATCHES))))


def same(first, second):
    np.testing.assert_array_equal(first.keypoints, second.keypoints)
    np.testing.assert_array_equal(first.scores, second.scores)
    np.testing.assert_array_equal(first.descriptors, second.descriptors)


@pytest.mark.parametrize("count", BATCHES)
def test_a_batch_is_its_images_one_by_one(batched, package, photos, record, count):
    together = batched.detect_batch(photos[:count])
    for image, features in zip(photos, together, strict=False):
        alone = batched.detect(image)
        assert len(alone) == len(features)
        np.testing.assert_allclose(alone.keypoints, features.keypoints, atol=1e-4)
    times = []
    for _ in range(50):
        started = time.perf_counter()
        batched.detect_batch(photos[:count])
        times.append(1000 * (time.perf_counter() - started))
    record(f"milliseconds {package} batch {count}", float(np.median(times)))


def test_two_threads_share_an_extractor(batched, photos):
    expected = [batched.detect(image) for image in photos]
    results = [[], []]

    def work(mine):
        for _ in range(5):
            mine[:] = map(batched.detect, photos)

    threads = [threading.Thread(target=work, args=[mine]) for mine in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for mine in results:
        for features, wanted in zip(mine, expected, strict=True):
            same(features, wanted)


def resident():
    """Bytes of host memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def test_memory_stays_flat(make_engine, device, package, photo, record):
    extractor = Extractor(make_engine("small", {"kind": "sparse"}, size=SIZE))

    def used():
        with device.active():
            free, total = device.memory()
        return np.array([resident(), total - free])

    for _ in range(1000):
        extractor.detect(photo)
    before = used()
    for _ in range(CALLS):
        extractor.detect(photo)
    growth = used() - before
    record(f"growth {package} bytes", {"host": int(growth[0]), "GPU": int(growth[1])})
    assert (growth < GROWTH).all()


def test_shapes_alternate(make_engine, photo):
    path = make_engine(
        "small", size=SIZE, min_size=(160, 120), max_size=SIZE, batch=(1, 2)
    )
    extractor = Extractor(path)
    crops = [photo[:h, :w] for w, h in ((640, 480), (320, 240), (160, 120))]
    expected = [extractor.detect(crop) for crop in crops]
    for _ in range(20):
        for crop, wanted in zip(crops, expected, strict=True):
            same(extractor.detect(crop), wanted)
    for _ in range(5):  # in a row, as a graph
        same(extractor.detect(crops[1]), expected[1])
    first, second = extractor.detect_batch([crops[0], crops[0]])
    np.testing.assert_allclose(first.keypoints, second.keypoints, atol=1e-4)


def test_an_engine_for_another_shape_is_told(batched, photo):
    with pytest.raises(InvalidImageError, match="640x480 only"):
        batched.detect(photo[:240])


@pytest.fixture
def copied(make_engine, tmp_path):
    """An engine, its sidecar and its model, to be spoilt."""
    shutil.copytree(make_engine("small", size=SIZE).parent, tmp_path / "engine")
    return tmp_path / "engine" / "model.engine"


def test_an_engine_of_another_model_is_refused(copied):
    model = copied.with_suffix(".onnx")
    model.write_bytes(model.read_bytes() + b"\0")
    with pytest.raises(ModelError, match=r"another model\.onnx.*Build it again"):
        Extractor(copied)


def test_a_truncated_engine_is_refused(copied):
    content = copied.read_bytes()[:-1000]
    copied.write_bytes(content)
    with pytest.raises(ModelError, match="sha256"):
        Extractor(copied)
    sidecar = copied.with_name("model.engine.json")
    facts = json.loads(sidecar.read_text())
    facts["sha256"] = hashlib.sha256(content).hexdigest()
    sidecar.write_text(json.dumps(facts))
    with pytest.raises(ModelError, match=r"cannot be loaded.*Build it again"):
        Extractor(copied)
