import json

import cv2
import numpy as np
import pytest

from benchmarks.pairs import read_pairs
from benchmarks.scene_pair import PairsError, count_kinds
from kpextract import KpextractError

K0 = [[500, 0, 320], [0, 510, 240], [0, 0, 1]]
K1 = [[600, 0, 310], [0, 610, 250], [0, 0, 1]]
R = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
T = [0.5, -1, 2]
POSED = {"image0": "a.png", "image1": "b.png", "K0": K0, "K1": K1, "R": R, "t": T}


@pytest.fixture
def folder(tmp_path):
    """Write images a.png and b.png, with pixels 1 and 2."""
    for value, name in enumerate("ab", 1):
        cv2.imwrite(
            str(tmp_path / f"{name}.png"), np.full((18, 19, 3), value, np.uint8)
        )
    return tmp_path


def write(folder, *pairs):
    (folder / "pairs.json").write_text(json.dumps({"pairs": pairs}))


def numbers(*arrays):
    return " ".join(str(value) for array in arrays for value in np.ravel(array))


def check_pose(pair):
    camera0, camera1, pose = pair.calibrated
    np.testing.assert_array_equal(camera0, K0)
    np.testing.assert_array_equal(camera1, K1)
    np.testing.assert_array_equal(pose.rotation, R)
    np.testing.assert_array_equal(pose.translation, T)


def test_json_holds_poses_correspondences_and_kinds(folder):
    (folder / "points.txt").write_text("1 2 3 4\n5 6 7 8.5\n")
    points = {"image0": "a.png", "image1": "a.png", "correspondences": "points.txt"}
    write(folder, POSED, points | {"kind": "night"}, POSED | points | {"kind": "day"})
    posed, night, both = read_pairs(folder)
    check_pose(posed)
    assert posed.correspondences is None
    assert posed.picture1.name == "b.png"
    image = posed.picture1.read()
    assert image.shape == (18, 19, 3)
    assert image.max() == image.min() == 2
    assert night.calibrated is None
    np.testing.assert_array_equal(night.correspondences, [[1, 2, 3, 4], [5, 6, 7, 8.5]])
    check_pose(both)
    assert len(both.correspondences) == 2
    assert count_kinds([posed, night, both]) == {"all": 3, "day": 1, "night": 1}
    assert count_kinds([posed, night]) == {"all": 2}


def test_json_holds_homographies(folder):
    names = {"image0": "a.png", "image1": "b.png"}
    write(folder, names | {"H": R}, names | {"H": [1, 2]})
    with pytest.raises(PairsError, match="pair 1"):
        read_pairs(folder)
    write(folder, names | {"H": R})
    (pair,) = read_pairs(folder)
    assert pair.calibrated is None
    np.testing.assert_array_equal(pair.homography, R)


@pytest.mark.parametrize("name", ["pairs.txt", "pairs_calibrated.txt"])
def test_lines_hold_cameras_and_a_pose(folder, name):
    line = f"a.png b.png {numbers(K0, K1, R, T)}"
    (folder / name).write_text(f"# a comment\n{line}\n\n{line}\n")
    pairs = read_pairs(folder)
    assert len(pairs) == 2
    check_pose(pairs[1])


def test_lines_of_superglue_are_read(folder):
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = R, T
    start = "a.png b.png 0 {} "
    line = start + numbers(K0, K1, pose)
    (folder / "pairs.txt").write_text(line.format(0))
    (pair,) = read_pairs(folder)
    check_pose(pair)
    (folder / "pairs.txt").write_text(line.format(1))
    with pytest.raises(PairsError, match=r"line 1: .*rotated"):
        read_pairs(folder)


def test_images_may_lie_in_a_folder_of_their_own(folder):
    (folder / "images").mkdir()
    (folder / "a.png").rename(folder / "images" / "a.png")
    write(folder, POSED)
    (pair,) = read_pairs(folder)
    assert pair.picture0.name == "images/a.png"
    assert pair.picture0.read().max() == 1


def test_folders_of_wxbs_are_read(folder):
    for kind, name in (("WGABS", "arch"), ("WLABS", "kettle")):
        home = folder / "set" / kind / name
        home.mkdir(parents=True)
        for number, letter in (("01", "a"), ("02", "b")):
            content = (folder / f"{letter}.png").read_bytes()
            (home / f"{number}.png").write_bytes(content)
        (home / "corrs.txt").write_text("1,2,3,4\n")
    pairs = read_pairs(folder)
    assert [pair.kind for pair in pairs] == ["WGABS", "WLABS"]
    assert pairs[0].picture0.read().max() == 1
    assert pairs[1].picture1.name == "set/WLABS/kettle/02.png"
    np.testing.assert_array_equal(pairs[0].correspondences, [[1, 2, 3, 4]])
    (folder / "set" / "WLABS" / "kettle" / "02.png").unlink()
    with pytest.raises(PairsError, match=r"kettle has corrs\.txt but no image 02"):
        read_pairs(folder)


def test_a_folder_without_pairs_says_what_is_read(folder):
    with pytest.raises(PairsError, match=r"pairs\.json, pairs\.txt"):
        read_pairs(folder)
    assert issubclass(PairsError, KpextractError)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image0": "c.png"}, r"pair 0: .* has no image c\.png"),
        ({"image0": None}, "image0"),
        ({"K0": [[1, 0], [0, 1]]}, "25 numbers. A pair needs 30"),
        ({"K0": "wide"}, "pair 0"),
        ({"K1": (2 * np.array(K1)).tolist()}, "last entry"),
        ({"R": np.ones((3, 3)).tolist()}, "R is not a rotation"),
        ({"t": [0, 0, 0]}, "t is zero"),
        ({"t": [float("nan"), 0, 0]}, "finite"),
        ({"correspondences": "no.txt"}, r"no\.txt"),
    ],
)
def test_an_entry_that_breaks_the_layout_is_an_error(folder, change, message):
    write(folder, POSED | change)
    with pytest.raises(PairsError, match=message):
        read_pairs(folder)


def test_a_pair_without_truth_is_an_error(folder):
    write(folder, {"image0": "a.png", "image1": "b.png"})
    with pytest.raises(PairsError, match="some truth: K0, K1, R and t; or H"):
        read_pairs(folder)


@pytest.mark.parametrize("text", ["", "[]", '{"pairs": 3}', "{"])
def test_a_damaged_list_is_an_error(folder, text):
    (folder / "pairs.json").write_text(text)
    with pytest.raises(PairsError, match=r"pairs\.json"):
        read_pairs(folder)


@pytest.mark.parametrize("line", ["a.png", "a.png b.png 1 2 3", "a.png b.png x"])
def test_a_broken_line_is_named(folder, line):
    (folder / "pairs.txt").write_text(f"# list\n{line}\n")
    with pytest.raises(PairsError, match=r"pairs\.txt, line 2"):
        read_pairs(folder)


@pytest.mark.parametrize("text", ["", "1 2 3\n", "1 2 3 x\n"])
def test_correspondences_of_another_shape_are_an_error(folder, text, recwarn):
    (folder / "points.txt").write_text(text)
    entry = {"image0": "a.png", "image1": "b.png", "correspondences": "points.txt"}
    write(folder, entry)
    with pytest.raises(PairsError, match=r"points\.txt"):
        read_pairs(folder)
