"""What a summary says of caches with planted faults, against plain NumPy on the whole array."""

import shutil

import numpy as np
import pytest

from pipeline.inspect.rows import CachedRows
from pipeline.inspect.summary import NORM_BINS, figure, render, summarise, summarise_layer
from pipeline.registry import all_systems


@pytest.fixture
def values():
    rng = np.random.default_rng(3)
    return np.maximum(rng.normal(0, 2, (13, 6)), 0)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("workers", [1, 3])
def test_figures_are_those_of_the_whole_array(make, values, dtype, workers):
    values = values.astype(dtype)
    values[4] = 0
    values[5] *= -20
    found = summarise_layer(CachedRows(make("test", fc7=values), "fc7", workers))
    norms = np.linalg.norm(values.astype(np.float64), axis=1)
    assert found.shape == (13, 6)
    assert found.dtype == dtype
    assert found.zeros == pytest.approx((values == 0).mean())
    assert found.greatest == np.abs(values).max()
    assert found.mean_norm == pytest.approx(norms.mean(), rel=1e-6)
    assert found.norm_edges == pytest.approx(np.linspace(0, norms.max(), NORM_BINS + 1))
    assert np.array_equal(found.norm_counts, np.histogram(norms * (1 - 1e-6), found.norm_edges)[0])
    assert found.raw_bytes == values.nbytes
    assert found.ratio == found.raw_bytes / found.stored_bytes
    assert len(found.dead) == len(found.not_finite) == 0


def test_planted_faults_are_found_at_their_places(make, values):
    values = values.astype(np.float16)
    values[:, 2] = 0
    values[:, 5] = -0.0
    values[3, 1] = np.nan
    values[8, 1] = -np.inf
    values[9, 4] = np.inf
    found = summarise_layer(CachedRows(make("test", fc7=values), "fc7", workers=2))
    assert found.dead.tolist() == [2, 5]
    assert found.not_finite.tolist() == [[1, 2], [4, 1]]
    assert found.rows_not_finite.tolist() == [3, 8, 9]
    whole = np.delete(values, [3, 8, 9], axis=0).astype(np.float64)
    assert found.mean_norm == pytest.approx(np.linalg.norm(whole, axis=1).mean(), rel=1e-6)
    assert found.norm_counts.sum() == 10
    assert found.greatest == np.nanmax(np.abs(np.where(np.isfinite(values), values, 0)))


def test_a_unit_that_is_only_broken_is_not_dead(make):
    values = np.zeros((13, 2), np.float32)
    values[5, 0] = np.nan
    found = summarise_layer(CachedRows(make("test", fc7=values), "fc7"))
    assert found.dead.tolist() == [1]
    assert found.mean_norm == 0


def test_origin_and_overlaps(make, values):
    found = summarise(make("test", fc7=values.astype(np.float16), pool5=values[:, :2].astype(np.float32)))
    assert found.attributes["network"] == "small"
    assert [layer.layer for layer in found.layers] == ["fc7", "pool5"]
    assert (found.images, found.rows_per_image, found.ground_truth) == (3, (3, 3, 7), 3)
    # By hand: overlaps 0.9, 0.9, 0.75, 0 and 600 of 2200 in the first image, no object in the second, 0.95 and 0.
    assert found.overlap.tolist() == [5, 0, 1, 0, 0, 0, 0, 1, 0, 3]


def test_cells_have_no_overlaps(maps):
    found = summarise(maps)
    assert (found.row_name, found.images, found.overlap, found.ground_truth) == ("cell", 3, None, None)
    assert found.rows_per_image == (459, 459, 459)


def test_text_and_picture(make, maps, values):
    values = values.astype(np.float16)
    values[:, 1] = 0
    cache = make("test", fc7=values)
    shutil.rmtree(cache.path / "features/fc7/c/1")  # rows of it now read as zeros
    summaries = [summarise(cache), summarise(maps)]
    text = render(summaries).text()
    assert "fingerprint   ffffffffffffffff" in text
    assert "region        size 48, padding 4, mode warp" in text
    assert "fc7: 13 x 6 float16" in text
    assert "dead units    1 of 6 (1)" in text
    assert "WARNING" in text
    assert "1,377 cells of 3 images" in text
    axes = figure(summaries).axes
    assert [axis.get_title() for axis in axes] == ["rcnn fc7", "sppnet cells", "proposals"]


def test_text_names_the_values_that_are_not_finite(make):
    values = np.ones((13, 12), np.float16)
    values[4, :9] = np.nan
    text = render([summarise(make("test", fc7=values))]).text()
    assert "not finite    9 values, in units 9 of 12 (0, 1, 2, 3, 4, 5, 6, 7, ...); first rows 4" in text


def test_the_command_for_all_systems_or_for_one(boxline, tmp_path):
    png, html = tmp_path / "a.png", tmp_path / "a.html"
    everything = boxline("summary", "--png", png, "--html", html)
    assert everything.exit_code == 0, everything.output
    assert "features/rcnn/test.zarr\n" in everything.stdout
    assert "features/sppnet/test.zarr\n" in everything.stdout
    assert everything.stdout.endswith(f"wrote {png}\nwrote {html}\n")
    assert "16 regions of 4 images" in html.read_text()
    assert "features/rcnn" not in boxline("summary", "sppnet").stdout


def test_a_missing_cache_is_answered_by_the_stage_that_writes_it(boxline, refused, tmp_path, monkeypatch):
    assert "systems/rcnn/dvc.yaml:features@val" in refused("summary", "rcnn", "--split", "val")
    assert "systems/sppnet/dvc.yaml:maps@train" in refused("summary", "sppnet", "--split", "train")
    monkeypatch.chdir(tmp_path)
    assert "features/rcnn/test.zarr: there is no feature cache" in refused("summary")
    unknown = boxline("summary", "rnn")
    assert unknown.exit_code == 2
    assert f"no system is called rnn; there are {', '.join(all_systems())}" in unknown.stderr
