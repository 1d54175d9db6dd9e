"""The files for other projects, on stand-ins for the hosts' base classes."""

import importlib.util
import subprocess
import sys
import types
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from kpextract import Extractor, match

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "integrations"
WIDTH, HEIGHT, FOCAL = 640, 480, 600
VIEWS = 6
STEP = 0.3  # meters between cameras


def load(name, module):
    """Import a file of the folder under the name that it has in its host."""
    spec = importlib.util.spec_from_file_location(module, FOLDER / f"{name}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def install(monkeypatch, name, **contents):
    """Put a stand-in for a package in the place of the package."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        module = types.ModuleType(".".join(parts[:end]))
        monkeypatch.setitem(sys.modules, module.__name__, module)
    vars(module).update(contents)


class BaseModel(torch.nn.Module):
    """Stand-in for hloc's: merges the configuration and checks the inputs."""

    default_conf, required_inputs = {}, []

    def __init__(self, conf):
        super().__init__()
        self._init(self.default_conf | conf)

    def forward(self, data):
        assert set(self.required_inputs) <= set(data)
        return self._forward(data)


class BaseMatcher(torch.nn.Module):
    """Stand-in for vismatch's: checks types and shapes of the seven values."""

    def __init__(self, device="cpu", **options):
        super().__init__()
        self.device, self.options = device, options

    def forward(self, *images):
        values = self._forward(*images)
        assert len(values) == 7
        matched0, matched1, all0, all1, descriptors0, descriptors1, confidence = values
        assert all(isinstance(value, np.ndarray) for value in values)
        assert {points.shape[1] for points in (matched0, matched1, all0, all1)} == {2}
        assert len(matched0) == len(matched1) == len(confidence)
        assert (len(all0), len(all1)) == (len(descriptors0), len(descriptors1))
        return values


@pytest.fixture
def hloc(monkeypatch):
    install(monkeypatch, "hloc.utils.base_model", BaseModel=BaseModel)
    return load("hloc", "hloc.extractors.kpextract")


@pytest.fixture
def vismatch(monkeypatch):
    install(monkeypatch, "vismatch", BaseMatcher=BaseMatcher)
    return load("vismatch", "vismatch.im_models.kpextract")


def tensor(photo):
    """Return a photo as both hosts have it, (3, H, W) float RGB in [0, 1]."""
    rgb = np.ascontiguousarray(photo[:, :, ::-1].transpose(2, 0, 1))
    return torch.from_numpy(rgb).float() / 255


def test_hloc_finds_one_class_and_its_configuration(hloc):
    """It takes the only subclass of BaseModel that the module itself defines."""
    ours = [
        value
        for value in vars(hloc).values()
        if isinstance(value, type)
        and issubclass(value, BaseModel)
        and value.__module__ == "hloc.extractors.kpextract"
    ]
    assert ours == [hloc.Kpextract]
    (conf,) = hloc.CONFS.values()
    assert conf["model"]["name"] == "kpextract"
    assert conf["output"] == "feats-kpextract-n2048-r1600"
    assert conf["preprocessing"] == {"grayscale": False, "resize_max": 1600}
    assert hloc.Kpextract.default_conf["max_keypoints"] == 2048
    assert hloc.MATCHERS == ("NN-mutual", "NN-ratio")


def test_hloc_gets_what_the_extractor_gives(hloc, photo):
    model = hloc.Kpextract({"name": "kpextract", "max_keypoints": 300}).eval()
    given = model({"image": tensor(photo)[None]})
    expected = Extractor(max_keypoints=300, min_distance=3).detect(photo)
    assert set(given) == {"keypoints", "scores", "descriptors"}
    found = {name: value[0].cpu().numpy() for name, value in given.items()}
    np.testing.assert_array_equal(found["keypoints"], expected.keypoints)
    np.testing.assert_array_equal(found["scores"], expected.scores)
    np.testing.assert_array_equal(found["descriptors"], expected.descriptors.T)
    assert found["keypoints"].dtype == np.float32


def test_hloc_gets_empty_tensors_without_keypoints(hloc):
    model = hloc.Kpextract({"name": "kpextract"})
    model.extractor = Extractor(color="rgb", min_score=1.0)
    given = model({"image": torch.zeros(1, 3, 64, 96)})
    shapes = {name: tuple(value[0].shape) for name, value in given.items()}
    assert shapes == {"keypoints": (0, 2), "scores": (0,), "descriptors": (64, 0)}


def test_vismatch_gets_seven_values(vismatch, photo, other_photo):
    matcher = vismatch.KpextractMatcher(max_num_keypoints=500, ransac_iters=100)
    assert matcher.options == {"ransac_iters": 100}
    values = matcher(tensor(photo), tensor(other_photo))
    extractor = Extractor(max_keypoints=500, min_distance=3)
    one, other = extractor.detect_batch([photo, other_photo])
    first, second = match(one, other).T
    np.testing.assert_array_equal(values[0], one.keypoints[first])
    np.testing.assert_array_equal(values[1], other.keypoints[second])
    np.testing.assert_array_equal(values[2], one.keypoints)
    np.testing.assert_array_equal(values[5], other.descriptors)
    assert values[6].shape == first.shape
    expected = [
        one.descriptors[i] @ other.descriptors[j]
        for i, j in zip(first, second, strict=True)
    ]
    np.testing.assert_allclose(values[6], expected, atol=1e-6)


def test_vismatch_may_pass_what_bicubic_resizing_leaves(vismatch, photo):
    """It allows values that exceed [0, 1] by 0.2."""
    matcher = vismatch.KpextractMatcher()
    exceeding = tensor(photo) * 1.2 - 0.1
    values = matcher(exceeding, exceeding)
    # Matched with itself.
    assert len(values[0]) == len(values[2]) > 1000


def test_vismatch_without_matches(vismatch):
    matcher = vismatch.KpextractMatcher()
    matcher.extractor = Extractor(color="rgb", min_score=1.0)
    black = torch.zeros(3, 64, 96)
    assert [value.shape for value in matcher(black, black)] == [
        *((0, 2),) * 4,
        *((0, 64),) * 2,
        (0,),
    ]


def view(photos, position):
    """Return two textured planes seen by a camera that moved right and turned left."""
    camera = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]])
    rotation, _ = cv2.Rodrigues(np.array([0, np.arctan2(position, 5.0), 0]))
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for photo, depth, width, left in zip(
        photos, (6, 4), (9, 2), (-4.5, -1), strict=True
    ):
        height = width * photo.shape[0] / photo.shape[1]
        scale = width / photo.shape[1]
        # From pixels of the photo to meters on its plane, then into the camera.
        plane = np.array([[scale, 0, left], [0, scale, -height / 2], [0, 0, depth]])
        moved = plane - np.outer([position, 0, 0], [0, 0, 1])
        homography = camera @ rotation @ moved
        seen = cv2.warpPerspective(photo, homography, (WIDTH, HEIGHT))
        where = cv2.warpPerspective(
            np.full(photo.shape[:2], 255, np.uint8), homography, (WIDTH, HEIGHT)
        )
        image[where > 127] = seen[where > 127]
    return image


def test_colmap_reconstructs_views_of_known_positions(photo, other_photo, tmp_path):
    pycolmap = pytest.importorskip("pycolmap")
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    names = [f"{number}.png" for number in range(VIEWS)]
    blocks = cv2.imread(str(FOLDER.parent / "stereo" / "aloe-left.jpg"))
    for number, name in enumerate(names):
        image = view((photo, blocks), STEP * (number - VIEWS / 2))
        cv2.imwrite(str(photos / name), image)
    command = [sys.executable, FOLDER / "colmap.py", photos, "--out", out]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "model 0: Reconstruction:" in done.stdout, done.stderr
    model = pycolmap.Reconstruction(out / "0")
    assert model.num_reg_images() == VIEWS
    centers = {image.name: image.projection_center() for image in model.images.values()}
    steps = np.diff([centers[name] for name in names], axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    # All steps are of one length and direction, whatever the scale of the model.
    np.testing.assert_allclose(lengths / lengths.mean(), 1, atol=0.05)
    assert (steps @ steps[0] / lengths / lengths[0]).min() > 0.99
    with pycolmap.Database.open(out / "database.db") as database:
        ids = {image.name: image.image_id for image in database.read_all_images()}
        stored = database.read_keypoints(ids["0.png"])
    colmap = load("colmap", "colmap_example")
    (features,) = colmap.extract(photos, ["0.png"]).values()
    np.testing.assert_array_equal(stored[:, :2], features.keypoints + 0.5)


def test_colmap_reads_photos_as_they_are_stored(photo, tmp_path):
    """A photo that an EXIF entry turns keeps the size that COLMAP sees."""
    pytest.importorskip("pycolmap")
    from PIL import Image

    turned = Image.fromarray(photo[:, :, ::-1])
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    assert cv2.imread(str(tmp_path / "turned.jpg")).shape[:2] == (640, 480)
    found = load("colmap", "colmap_example").extract(tmp_path, ["turned.jpg"])
    assert found["turned.jpg"].image_size == (640, 480)


def test_the_readme_names_every_file():
    text = (FOLDER / "README.md").read_text()
    for path in FOLDER.glob("*.py"):
        assert f"`{path.name}`" in text
