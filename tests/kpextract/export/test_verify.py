import json
import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from kpextract import Features, InvalidImageError, ModelError
from kpextract.cli import main
from kpextract.export.verify import Comparison, Gate, compare, pair, summarize
from kpextract.export.verify_report import report


def features(points, scores=None, descriptors=None):
    """Best first; all descriptors alike unless given."""
    count = len(points)
    return Features(
        np.array(points, np.float32).reshape(count, 2),
        np.array(scores if scores else np.linspace(0.9, 0.1, count), np.float32),
        np.array(descriptors if descriptors else [[1, 0]] * count, np.float32).reshape(
            count, 2
        ),
        (640, 480),
    )


def figures_of(reference, other):
    return summarize([pair(reference, other)])


def test_every_figure_of_a_synthetic_image():
    reference = features(
        [[10, 10], [50, 50], [90, 90], [200, 200]],
        [0.8, 0.6, 0.4, 0.2],
        [[1, 0], [1, 0], [0, 1], [0, 1]],
    )
    other = features(  # other order; the last is too far to be the same keypoint
        [[50.25, 50], [10, 10], [90, 90.75], [202, 200]],
        [0.75, 0.75, 0.4, 0.2],
        [[0.6, 0.8], [1, 0], [0, 1], [0, 1]],
    )
    figures = figures_of(reference, other)
    assert figures.keypoints == (4, 4)
    assert figures.common == 3
    assert figures.changed == 0.25
    third = pytest.approx(1 / 3)
    assert figures.within == {
        "0.05": third,
        "0.1": third,
        "0.5": pytest.approx(2 / 3),
        "1": 1.0,
    }
    assert figures.drift == {"p50": 0.25, "p99": 0.75, "max": 0.75}
    assert figures.cosine == pytest.approx({"p1": 0.6, "p50": 1.0})
    assert figures.score == pytest.approx({"p50": 0.05, "p99": 0.15, "max": 0.15})
    assert figures.non_finite == (0, 0)


def test_a_keypoint_has_one_partner_and_the_nearest_pairs_come_first():
    reference = features([[10, 10], [10.6, 10]])
    other = features([[10.5, 10], [300, 300]])
    pairing = pair(reference, other)
    assert pairing.drift == pytest.approx([0.1], abs=1e-6)


def test_keypoints_at_one_place_are_told_apart_by_their_scores():
    points = [[0, 0], [0, 0], [0, 0]]
    descriptors = [[1, 0], [0, 1], [-1, 0]]
    reference = features(points, [0.9, 0.5, 0.1], descriptors)
    other = features(points, [0.5, 0.9, 0.1], [[0, 1], [1, 0], [-1, 0]])
    figures = figures_of(reference, other)
    assert figures.changed == 0
    assert figures.cosine["p1"] == 1
    assert figures.score["max"] == 0


@pytest.mark.parametrize("swapped", [False, True])
def test_keypoints_that_only_one_model_has_are_changes(swapped):
    sides = [features([[10, 10]]), features([[10, 10], [50, 50]])]
    figures = figures_of(*(sides[::-1] if swapped else sides))
    assert figures.changed == 0.5
    assert figures.keypoints == ((2, 1) if swapped else (1, 2))


def test_no_keypoint_on_either_side_is_no_change_and_misses_the_gate():
    figures = figures_of(features([]), features([]))
    assert figures.changed == 0
    assert figures.within == figures.drift == figures.cosine == figures.score == {}
    assert Gate().missed(figures) == ["the two have no keypoint in common"]


def test_a_keypoint_with_nan_or_infinity_has_no_partner():
    reference = features([[10, 10], [50, 50], [90, 90]])
    keypoints, descriptors = reference.keypoints.copy(), reference.descriptors.copy()
    keypoints[0] = np.nan
    descriptors[1, 1] = np.inf
    other = replace(reference, keypoints=keypoints, descriptors=descriptors)
    figures = figures_of(reference, other)
    assert figures.non_finite == (0, 3)
    assert figures.common == 1
    assert figures.drift["max"] == 0
    assert "the other gave 3 NaN" in Gate(max_changed=1).missed(figures)[0]


def test_images_are_pooled_by_keypoints_not_by_images():
    same = features([[x, 10] for x in range(0, 90, 10)])
    moved = features([[5, 5]]), features([[5, 7]])
    figures = summarize([pair(same, same), pair(*moved)])
    assert figures.keypoints == (10, 10)
    assert figures.common == 9
    assert figures.changed == 0.1


def test_the_bound_on_drift_is_one_on_99_of_100_points():
    points = np.arange(200).reshape(100, 2) * 10.0
    one_off, two_off = points.copy(), points.copy()
    one_off[:1] += 0.25
    two_off[:2] += 0.25
    passed = figures_of(features(points), features(one_off))
    assert passed.within["0.05"] == 0.99
    assert Gate().missed(passed) == []
    failed = figures_of(features(points), features(two_off))
    assert failed.within["0.05"] == 0.98
    assert Gate().missed(failed) == [
        "99 % of the common points moved up to 0.354 px, 0.05 px allowed"
    ]


def test_one_changed_keypoint_of_a_hundred_is_allowed_and_two_are_not():
    points = np.arange(200).reshape(100, 2) * 10.0
    for changes, faults in ((1, 0), (2, 1)):
        other = points.copy()
        other[:changes] += 4
        figures = figures_of(features(points), features(other))
        assert len(Gate().missed(figures)) == faults


def test_the_gate_names_descriptors_that_turned():
    turned = [[np.cos(0.1), np.sin(0.1)]]
    figures = figures_of(features([[1, 1]]), features([[1, 1]], None, turned))
    (fault,) = Gate().missed(figures)
    assert fault == "the median cosine of descriptors is 0.99500, 0.9995 required"
    assert Gate(min_cosine=0.99).missed(figures) == []


def test_descriptors_of_another_length_are_another_network():
    other = replace(features([[1, 1]]), descriptors=np.ones((1, 3), np.float32))
    with pytest.raises(ModelError, match="2 and 3 numbers"):
        pair(features([[1, 1]]), other)


def test_at_least_one_image(extractor):
    with pytest.raises(InvalidImageError, match="at least one image"):
        compare(extractor, extractor, [])


def test_the_table_has_a_line_for_each_image_and_one_for_all(extractor):
    same = figures_of(features([[1, 1]]), features([[1, 1]]))
    none = figures_of(features([[1, 1]]), features([]))
    images = {"a.jpg": same, "b.jpg": none}
    lines = report(Comparison(extractor.info, extractor.info, images, same))
    head, a, b, pooled = lines.splitlines()[2:]
    assert len(head) == len(a) == len(b)
    assert a.split()[:4] == ["a.jpg", "1", "0.00%", "100.00%"]
    assert b.split() == ["b.jpg", "1/0", "100.00%", *"-" * 9, "0"]
    assert pooled.split()[1:] == a.split()[1:]


@pytest.fixture
def changed_model(root, tmp_path):
    """Write the bundled model with its convolutions' weights changed."""

    def write(change):
        model = onnx.load(root / "models" / "small.onnx")
        for tensor in model.graph.initializer:
            values = numpy_helper.to_array(tensor)
            if values.ndim == 4:
                changed = change(values).astype(values.dtype)
                tensor.CopyFrom(numpy_helper.from_array(changed, tensor.name))
        path = tmp_path / "changed.onnx"
        onnx.save(model, path)
        return str(path)

    return write


@pytest.fixture
def run(root, capsys):
    """kpextract verify on one photo of the bundled model and another one."""

    def verify(other, *options):
        photo = str(root / "examples" / "street-left.jpg")
        code = main(["verify", "small", other, "--images", photo, *options])
        return code, capsys.readouterr().out

    return verify


def as_json(text):
    def refuse(name):
        raise ValueError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_a_model_passes_against_itself(run):
    code, output = run("small")
    assert code == 0
    assert output.splitlines()[-1] == "passed"
    code, output = run("small", "--json", "--max-keypoints", "100")
    result = as_json(output)
    assert code == 0
    assert result["missed"] == []
    pooled = result["pooled"]
    assert pooled["keypoints"] == [100, 100]
    assert pooled["changed"] == pooled["drift"]["max"] == pooled["score"]["max"] == 0
    assert set(pooled["within"].values()) == {1.0}
    assert pooled["cosine"]["p1"] == pytest.approx(1, abs=1e-12)
    assert list(result["images"].values()) == [pooled]


def test_perturbed_weights_miss_the_gate(run, changed_model):
    noise = np.random.default_rng(0)
    path = changed_model(lambda w: w * noise.normal(1, 0.05, w.shape))
    code, output = run(path)
    assert code == 1
    assert "missed: " in output
    code, output = run(path, "--json")
    result = as_json(output)
    assert code == 1
    assert result["missed"]
    assert 0.01 < result["pooled"]["changed"] < 1
    wide = ["--max-changed", "1", "--max-drift", "1", "--min-cosine", "-1"]
    assert run(path, *wide)[0] == 0


def test_a_model_that_gives_nan_is_reported(run, changed_model):
    code, output = run(changed_model(lambda w: w * np.nan), "--json")
    result = as_json(output)
    assert code == 1
    assert "NaN or infinite" in result["missed"][0]
    assert result["pooled"]["non_finite"][0] == 0
    assert result["pooled"]["non_finite"][1] > 0


def test_bad_use_is_no_missed_gate(root, capsys):
    assert main(["verify", "small", "no.onnx", "--images", f"{root}/examples"]) == 2
    assert main(["verify", "small", "small", "--images", "no.jpg"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert "no.onnx" in errors[0]
    assert "no.jpg" in errors[1]


def test_an_unreadable_photo_is_named_and_misses_the_gate(root, tmp_path, capsys):
    for name in ("a.jpg", "c.jpg"):
        shutil.copy(root / "examples" / "street-left.jpg", tmp_path / name)
    (tmp_path / "b.jpg").write_text("no image")
    command = ["verify", "small", "small", "--images", str(tmp_path)]
    assert main(command) == 1
    printed = capsys.readouterr()
    assert "skipped: " in printed.err
    assert printed.out.endswith(f"missed: {tmp_path / 'b.jpg'} cannot be read\n")
    assert printed.out.count(".jpg") == 3  # the two others were compared
    for name in ("a.jpg", "c.jpg"):
        (tmp_path / name).unlink()
    assert main(command) == 2
    assert "b.jpg" in capsys.readouterr().err.splitlines()[-1]
