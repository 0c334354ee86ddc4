"""Two caches whose differences were planted, against plain NumPy; decisions of an SVM of known weights."""

import numpy as np
import pytest
from PIL import Image

from pipeline.core.errors import InputError
from pipeline.inspect.diff import (
    changed_attributes,
    difference,
    figure,
    pairs_of_layers,
    render,
    render_similarity,
    similarity,
)
from pipeline.inspect.drawing import png_bytes
from pipeline.inspect.rows import CachedRows
from pipeline.linear.model import LinearModel

TRUTH = (0, 1, 10)


@pytest.fixture
def values():
    return np.maximum(np.random.default_rng(2).normal(size=(13, 5)), 0).astype(np.float32)


@pytest.fixture
def svm():
    """Return three classes: positive where unit 0 exceeds 1, where unit 1 exceeds 2, never learned."""
    weights = np.array([[2, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]], np.float32)
    return LinearModel(weights, np.array([-1, -1, -np.inf], np.float32), 0.5, "fc7")


def rows(cache, layer="fc7"):
    return CachedRows(cache, layer)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_cache_equals_itself(make, values, svm, workers):
    layer = CachedRows(make("test", fc7=values), "fc7", workers)
    found = difference(layer, layer, svm)
    assert found.equal == 1
    assert found.total.equal_rows == 13
    assert (found.total.greatest[0], found.relative, found.total.relative_counts.sum()) == (0, 0, 0)
    assert found.total.flips.changed.tolist() == [0, 0]
    assert found.total.flips.rows == 10
    assert found.attributes == ()


def test_float16_against_float32(make, values):
    half = values.astype(np.float16)
    found = difference(rows(make("a", fc7=half)), rows(make("b", fc7=values)))
    gap = np.abs(half.astype(np.float64) - values)
    assert found.dtypes == ("float16", "float32")
    assert found.equal == (gap == 0).mean()
    assert found.total.equal_rows == (gap == 0).all(axis=1).sum()
    assert found.by_unit == pytest.approx(gap.mean(axis=0))
    assert found.total.greatest == pytest.approx((gap.max(), *np.unravel_index(gap.argmax(), gap.shape)), rel=1e-6)
    length = np.linalg.norm(half.astype(np.float64), axis=1)
    some = length > 0
    relative = np.linalg.norm(gap, axis=1)[some] / length[some]
    assert found.relative == pytest.approx(relative.mean(), rel=1e-5)
    assert found.total.relative_counts.sum() == (relative > 0).sum()
    assert found.norms == pytest.approx((length.mean(), np.linalg.norm(values, axis=1).mean()))


def test_values_that_are_not_finite_are_counted_and_left_out(make, values):
    other = values.copy()
    values[3, 2], other[3, 2] = np.nan, np.nan
    values[4, 2], other[4, 2] = np.inf, 1
    values[7, 0], other[7, 0] = 5, 7
    found = difference(rows(make("a", fc7=values)), rows(make("b", fc7=other)))
    assert found.total.not_finite == 2
    assert found.equal == pytest.approx(63 / 65)
    assert (found.total.greatest, found.total.equal_rows) == ((2, 7, 0), 11)


def test_planted_flips_are_counted_class_by_class(make, svm):
    a = np.zeros((13, 5), np.float32)
    a[[2, 3, 4], 0] = 3  # positive for class 1
    a[[5], 1] = 4  # positive for class 2
    b = a.copy()
    b[2, 0] = 0.5  # no longer class 1; the best class stays
    b[6, 1] = 2.5  # now class 2, and its best class with it: a tie went to class 1
    b[0, 0] = 50  # ground truth is not judged
    found = difference(rows(make("a", fc7=a)), rows(make("b", fc7=b)), svm).total.flips
    assert found.labels.tolist() == [1, 2]
    assert found.positive_a.tolist() == [3, 1]
    assert found.positive_b.tolist() == [2, 2]
    assert found.changed.tolist() == [1, 1]
    assert (found.best_changed, found.rows) == (1, 10)
    assert found.greatest == 2.5


def test_other_rows_are_refused_with_what_differs(make, tables, values, maps):
    first = rows(make("a", fc7=values))

    def refused(other):
        with pytest.raises(InputError) as caught:
            difference(first, other)
        return str(caught.value)

    assert "regions in the one and cells in the other" in refused(rows(maps, "cells"))
    tables["boxes"] = tables["boxes"] + np.eye(13, 4, dtype=np.float32)
    region = {"size": 112, "padding": 4, "mode": "warp"}
    sentence = refused(rows(make("b", attributes={"region": region, "fingerprint": "g"}, fc7=values)))
    assert "the boxes of 4 rows differ, first of row 0 (region.size 48 and 112)." in sentence
    tables["offsets"] = np.array([0, 7, 11, 13])
    assert "image 12 has 3 rows in the one and 4 in the other" in refused(rows(make("c", fc7=values)))
    tables["image_ids"] = np.array([11, 12, 14])
    assert "they are of other images, 3 and 3" in refused(rows(make("d", fc7=values)))


def test_other_widths_and_other_svms_are_refused(make, values, svm):
    cache = make("a", fc7=values, pool5=values[:, :3])
    with pytest.raises(InputError, match=r"5 units and .* 3: no value"):
        difference(rows(cache), rows(cache, "pool5"))
    with pytest.raises(InputError, match=r"weigh 5 units, but .*pool5 has 3"):
        difference(rows(cache, "pool5"), rows(cache, "pool5"), svm)


def test_caches_without_rows_are_refused(make, tables):
    tables.update(
        offsets=np.zeros(4, np.int64), boxes=tables["boxes"][:0], is_ground_truth=tables["is_ground_truth"][:0]
    )
    empty = rows(make("a", fc7=np.zeros((0, 4), np.float32)))
    with pytest.raises(InputError, match="they have no rows"):
        difference(empty, empty)


def test_similarity_of_layers_of_unlike_widths(make, values):
    """Linear CKA by its feature form, ``|Y'X|^2 / (|X'X| |Y'Y|)``, and its invariances."""
    turned = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0] * 3
    noise = np.random.default_rng(1).normal(size=(13, 2)).astype(np.float32)
    cache = make("a", fc7=values, pool5=(values @ turned).astype(np.float32), conv5=noise, fc6=np.ones_like(noise))
    assert similarity(rows(cache), rows(cache, "pool5")).cka == pytest.approx(1, abs=1e-5)
    x, y = values - values.mean(axis=0), noise - noise.mean(axis=0)
    expected = np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    found = similarity(rows(cache), rows(cache, "conv5"))
    assert found.cka == pytest.approx(expected, rel=1e-5)
    assert (found.widths, found.rows) == ((5, 2), 13)
    assert similarity(rows(cache), rows(cache, "conv5"), most=4).rows == 4
    assert np.isnan(similarity(rows(cache), rows(cache, "fc6")).cka)
    assert "5 and 2 units" in render_similarity(found).text()
    assert png_bytes(render_similarity(found).figure()).startswith(b"\x89PNG")


def test_layers_to_compare(make, values, maps):
    a, b = make("a", fc7=values, pool5=values), make("b", fc7=values, fc6=values)

    def named(*arguments):
        return [(x.layer, y.layer) for x, y in pairs_of_layers(*arguments)]

    assert named(a, None, b, None) == [("fc7", "fc7")]
    assert named(a, None, a, None) == [("fc7", "fc7"), ("pool5", "pool5")]
    assert named(a, "pool5", b, "fc6") == [("pool5", "fc6")]
    assert named(a, None, b, "fc7") == [("fc7", "fc7")]
    with pytest.raises(InputError, match="no layer is in both"):
        pairs_of_layers(a, None, maps, None)


def test_text_and_picture(make, values, svm):
    other = values.copy()
    other[5, 0], other[6, 1], values[2, 2] = 9, 9, np.nan
    a, b = make("a", fc7=values), make("b", attributes={"network": "alexnet"}, fc7=other)
    assert changed_attributes(rows(a), rows(b)) == (("network", "small", "alexnet"),)
    found = [difference(rows(a), rows(b), svm), difference(rows(a), rows(b))]
    shown = render(found, ("cat",))
    assert "made with     network: small | alexnet" in shown.text()
    assert "not finite    1 values" in shown.text()
    assert "2 of 20 decisions turn" in shown.text()
    assert "class 2" in shown.text()
    drawn = figure(found, ("cat", "dog"))
    assert [label.get_text() for label in drawn.axes[2].get_xticklabels()] == ["cat", "dog"]
    assert [text.get_text() for text in drawn.axes[2].texts] == ["1", "1"]
    same = render([difference(rows(a), rows(a))], ()).text()
    assert "the same settings and weights" in same


def test_the_command_asks_the_svms_of_the_project_or_others(boxline, tmp_path):
    result = boxline("diff", "rcnn:fc7", "features/rcnn/other.zarr:fc7", "--png", tmp_path / "d.png")
    assert result.exit_code == 0, result.output
    assert "of 24 decisions turn" in result.stdout
    assert "disc" in result.stdout
    assert min(Image.open(tmp_path / "d.png").size) > 300
    LinearModel(np.ones((1, 16), np.float32), np.float32([-8]), 1.0, "fc7").save(tmp_path / "svm")
    other = boxline("diff", "rcnn", "features/rcnn/other.zarr", "--svm", tmp_path / "svm")
    assert "of 12 decisions turn" in other.stdout
    assert "linear CKA" in boxline("diff", "rcnn:pool5", "rcnn:fc7").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["rcnn"], 2, "'B'"),
        (["rcnn", "sppnet"], 1, "no layer is in both"),
        (["rcnn", "elsewhere/features/sppnet/val.zarr"], 1, "dvc repro systems/sppnet/dvc.yaml:maps@val"),
        (["rcnn", "rcnn", "--svm", "absent"], 1, "absent"),
    ],
)
def test_a_wrong_argument_is_one_sentence(refused, arguments, code, words):
    assert words in refused("diff", *arguments, code=code)
