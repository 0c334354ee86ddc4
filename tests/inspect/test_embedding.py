"""The sample and the layout of an embedding."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.core.errors import InputError
from pipeline.data.index import ImageRecord, Index
from pipeline.inspect.drawing import png_bytes
from pipeline.inspect.embedding import Method, embed, figure, points_in_plane, render, sample_by_class

CLASSES = ("red", "blue")


class Rows:
    """Regions in memory that remember what was read."""

    path, layer = Path("features/rcnn/test.zarr"), "fc7"

    def __init__(self, values: np.ndarray, boxes: np.ndarray, offsets: list[int]) -> None:
        self.values, self.boxes, self.offsets = values, boxes, np.array(offsets)
        self.image_ids = np.arange(1, len(offsets))
        self.read: list[int] = []

    def map(self, work: Callable[[int, np.ndarray], Any]) -> Iterator[tuple[int, Any]]:
        raise AssertionError("an embedding reads its sample only")

    def take(self, which: np.ndarray) -> np.ndarray:
        assert (np.diff(which) > 0).all()
        self.read += which.tolist()
        return self.values[which]


@pytest.fixture
def planted() -> tuple[Rows, Index]:
    """Return 3 images of 40 regions: 8 on a red object, 8 on a blue one, 24 on none; a cluster of features each."""
    rng = np.random.default_rng(3)
    red, blue, none = [0, 0, 10, 10], [20, 20, 30, 30], [50, 50, 60, 60]
    boxes = np.float32(([red] * 8 + [blue] * 8 + [none] * 24) * 3)
    centres = np.eye(6)[([0] * 8 + [1] * 8 + [2] * 24) * 3] * 20
    values = (centres + rng.normal(0, 1, centres.shape)).astype(np.float16)
    truth, labels, ignore = np.float32([red, blue]), np.array([1, 2]), np.array([False, False])
    images = tuple(ImageRecord(n, f"{n}.png", 60, 60, "", truth, labels, ignore) for n in (1, 2, 3))
    return Rows(values, boxes, [0, 40, 80, 120]), Index(CLASSES, images)


def test_each_class_gets_an_equal_share() -> None:
    labels = np.repeat([0, 1, 2, 3], [900, 300, 40, 5])
    counts = np.bincount(labels[sample_by_class(labels, 245, seed=1)])
    assert counts.tolist() == [100, 100, 40, 5]


def test_a_sample_has_the_size_asked_for_and_no_region_twice() -> None:
    labels = np.random.default_rng(0).integers(0, 7, 1000)
    for count in (1, 2, 3, 10, 500, 999):
        chosen = sample_by_class(labels, count, seed=0)
        assert len(chosen) == len(set(chosen.tolist())) == count
        assert (np.diff(chosen) > 0).all()
    assert sample_by_class(labels, 5000, seed=0).tolist() == list(range(1000))
    assert len(sample_by_class(labels[:0], 10, seed=0)) == 0


def test_every_region_of_a_class_is_as_likely_as_another() -> None:
    labels = np.repeat([0, 1], [30, 10])
    drawn = np.zeros(40)
    for seed in range(600):
        drawn[sample_by_class(labels, 10, seed)] += 1
    assert drawn.sum() == 6000
    assert abs(drawn[:30] - 100).max() < 45  # 100 expected, deviation 9
    assert abs(drawn[30:] - 300).max() < 55


def test_the_seed_decides() -> None:
    labels = np.zeros(1000, np.int64)
    assert sample_by_class(labels, 50, 4).tolist() == sample_by_class(labels, 50, 4).tolist()
    assert sample_by_class(labels, 50, 4).tolist() != sample_by_class(labels, 50, 5).tolist()


def test_pca_is_the_singular_value_decomposition() -> None:
    values = np.random.default_rng(0).normal(size=(60, 9)).astype(np.float32) * np.arange(1, 10)
    points, explained = points_in_plane(values.astype(np.float32), Method.PCA, seed=0)
    u, s, _ = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(points), np.abs(u[:, :2] * s[:2]), rtol=1e-3, atol=1e-3)
    assert explained == pytest.approx((s[:2] ** 2).sum() / (s**2).sum(), rel=1e-4)


@pytest.mark.parametrize("method", [Method.PCA, Method.TSNE])
def test_planted_classes_fall_apart(planted: tuple[Rows, Index], method: Method) -> None:
    rows, index = planted
    view = embed(rows, index, 60, method, seed=0)
    assert view.totals.tolist() == [72, 24, 24]
    assert np.bincount(view.regions.labels).tolist() == [20, 20, 20]
    distance = np.linalg.norm(view.points[:, None] - view.points[None], axis=2) + np.diag(np.full(60, np.inf))
    assert (view.regions.labels[distance.argmin(axis=1)] == view.regions.labels).all()
    again = embed(rows, index, 60, method, seed=0)
    assert view.points.tobytes() == again.points.tobytes()
    assert rows.read[:60] == rows.read[60:]


def test_regions_on_objects_to_ignore_are_left_out(planted: tuple[Rows, Index]) -> None:
    rows, index = planted
    ignored = Index(CLASSES, tuple(replace(image, ignore=np.array([False, True])) for image in index.images))
    view = embed(rows, ignored, 60, Method.PCA, seed=0)
    assert view.totals.tolist() == [72, 24, 0]
    assert np.bincount(view.regions.labels, minlength=3).tolist() == [36, 24, 0]
    assert {number % 40 for number in rows.read}.isdisjoint(range(8, 16))


def test_the_picture_has_a_point_for_each_region(planted: tuple[Rows, Index]) -> None:
    view = embed(*planted, 30, Method.PCA, seed=0)
    drawn = {dots.get_label(): dots.get_offsets() for dots in figure(view).axes[0].collections}
    assert list(drawn) == ["background (10)", "red (10)", "blue (10)"]
    for label, points in enumerate(drawn.values()):
        np.testing.assert_allclose(points, view.points[view.regions.labels == label], rtol=1e-6)
    assert not figure(view).axes[0].texts
    text = render(view, "rcnn, test").text()
    assert "PCA of 30 regions, fc7 of rcnn, test" in text
    assert [line.split()[:3] for line in text.splitlines()[-3:]] == [
        ["background", "10", "72"],
        ["red", "10", "24"],
        ["blue", "10", "24"],
    ]


def test_the_clusters_of_tsne_have_names(planted: tuple[Rows, Index]) -> None:
    view = embed(*planted, 60, Method.TSNE, seed=0)
    names = {text.get_text(): text.get_position() for text in figure(view).axes[0].texts}
    assert list(names) == ["red", "blue"]
    for label, place in enumerate(names.values(), 1):
        nearest = np.linalg.norm(view.points - place, axis=1).argmin()
        assert view.regions.labels[nearest] == label


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("method", list(Method))
def test_names_of_any_letters_and_length_are_drawn(planted: tuple[Rows, Index], method: Method) -> None:
    """Long names left no room for the points, and what is between two dollars is a formula to matplotlib."""
    rows, index = planted
    view = embed(rows, Index(("n" * 300, "$^$\u732b"), index.images), 30, method, seed=0)
    assert png_bytes(figure(view)).startswith(b"\x89PNG")
    legend = figure(view).axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "background (10)",
        f"{'n' * 57}... (10)",
        "\\$^\\$\u732b (10)",
    ]


def test_few_regions_of_few_units_still_make_a_picture() -> None:
    rng = np.random.default_rng(0)
    for shape, method in (((2, 5), Method.TSNE), ((4, 5), Method.TSNE), ((7, 1), Method.PCA), ((7, 1), Method.TSNE)):
        points, _ = points_in_plane(rng.normal(size=shape).astype(np.float32), method, seed=0)
        assert points.shape == (shape[0], 2)
        assert np.isfinite(points).all()


def test_what_cannot_be_embedded_is_said(planted: tuple[Rows, Index]) -> None:
    rows, index = planted
    rows.values[5, 0] = np.inf
    with pytest.raises(InputError, match=r"test\.zarr: fc7 has values that are not finite"):
        embed(rows, index, 500, Method.PCA)
    nothing = Rows(rows.values[:0], rows.boxes[:0], [0, 0, 0, 0])
    with pytest.raises(InputError, match="0 regions make no picture"):
        embed(nothing, index, 10, Method.PCA)


@pytest.mark.parametrize("system", ["rcnn", "sppnet"])
def test_the_command(boxline, refused, tmp_path: Path, system: str) -> None:
    png = tmp_path / "a.png"
    result = boxline("embedding", "--system", system, "--method", "pca", "--sample", 8, "--png", png)
    assert result.exit_code == 0, result.stderr
    assert f"PCA of 8 regions, fc7 of {system}, test" in result.stdout
    assert min(Image.open(png).size) > 400
    counts = {line.split()[0]: line.split()[1:3] for line in result.stdout.splitlines()[-4:-1]}
    assert counts == {"background": ["3", "8"], "disc": ["2", "4"], "ring": ["3", "4"]}
    assert f"the stage systems/{system}/dvc.yaml:" in refused("embedding", "--split", "val", "--system", system)
