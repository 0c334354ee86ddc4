"""Nearest regions, against planted ones and a slow search."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.core.errors import InputError
from pipeline.data.index import ImageRecord, Index
from pipeline.features.cache import CacheWriter, Column, FeatureCache
from pipeline.inspect.neighbours import nearest, neighbours_of, render
from pipeline.inspect.rows import CachedRows

COUNTS = (30, 0, 50, 40)
OFFSETS = np.concatenate([[0], np.cumsum(COUNTS)])


@pytest.fixture
def features() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 1, (sum(COUNTS), 8)).astype(np.float16)


def regions_of(features: np.ndarray, folder: Path, monkeypatch: pytest.MonkeyPatch, first_id: int = 1) -> CachedRows:
    """Cache ``features`` seven rows a chunk, two chunks a shard; the first region of each image is its object."""
    monkeypatch.setattr("pipeline.features.cache.CHUNK_BYTES", 7 * features[0].nbytes)
    folder.mkdir(parents=True)
    rows = len(features)
    corner = np.arange(rows, dtype=np.float32)[:, None] % [20, 20]
    tables = {
        "offsets": OFFSETS,
        "image_ids": np.arange(first_id, first_id + len(COUNTS)),
        "boxes": np.concatenate([corner, corner + 10], axis=1).astype(np.float32),
        "is_ground_truth": np.isin(np.arange(rows), OFFSETS),
    }
    column = Column("fc7", features.shape[1], str(features.dtype))
    shard_mb = 14 * features[0].nbytes / 2**20
    with CacheWriter(folder, [column], rows, shard_mb, tables, {"system": "rcnn"}) as writer:
        for start, stop in writer.pending():
            writer.write(start, {"fc7": features[start:stop]})
    layer = CachedRows(FeatureCache(writer.place.path, "stage"), "fc7", workers=2)
    assert (layer.array.chunks[0], layer.array.shards[0]) == (7, 14)
    return layer


def index_of(rows: CachedRows) -> Index:
    images = []
    for number, start in zip(rows.image_ids.tolist(), rows.offsets[:-1].tolist(), strict=True):
        count = int(number != rows.image_ids[1])
        box = rows.boxes[start : start + count]
        images.append(
            ImageRecord(number, f"{number}.png", 40, 40, "", box, np.ones(count, np.int64), np.zeros(count, bool))
        )
    return Index(("cell",), tuple(images))


def slow_cosines(features: np.ndarray, query: int) -> np.ndarray:
    wide = features.astype(np.float64)
    return np.array([row @ wide[query] / np.sqrt((row @ row) * (wide[query] @ wide[query])) for row in wide])


@pytest.mark.parametrize("same_image", [False, True])
def test_neighbours_are_those_of_a_slow_search(features, tmp_path, monkeypatch, same_image) -> None:
    rows = regions_of(features, tmp_path / "a", monkeypatch)
    view = neighbours_of(rows, index_of(rows), position=2, region=5, top=9, same_image=same_image)
    cosines = slow_cosines(features, 35)
    cosines[35 if same_image else slice(30, 80)] = -2
    expected = np.argsort(-cosines)[:9]
    assert (OFFSETS[view.nearest.images] + view.nearest.regions).tolist() == expected.tolist()
    np.testing.assert_allclose(view.similarities, cosines[expected], atol=1e-6)
    assert view.similarities.dtype == np.float32
    assert (view.query.files, view.query.regions.tolist()) == (("3.png",), [5])


def test_a_planted_neighbour_comes_first_whatever_its_length(features, tmp_path, monkeypatch) -> None:
    features[111] = features[35] * np.float16(4)  # another image, four times as long
    features[40] = features[35]  # the same image
    rows = regions_of(features, tmp_path / "a", monkeypatch)
    index = index_of(rows)
    other = neighbours_of(rows, index, 2, 5, top=1)
    assert (other.nearest.files, other.nearest.regions.tolist()) == (("4.png",), [31])
    assert other.similarities[0] == pytest.approx(1, abs=1e-6)
    same = neighbours_of(rows, index, 2, 5, top=2, same_image=True)
    assert set(same.nearest.files) == {"3.png", "4.png"}


def test_another_split_is_searched_whole(features, tmp_path, monkeypatch) -> None:
    here = regions_of(features, tmp_path / "a", monkeypatch)
    there = regions_of(features[::-1].copy(), tmp_path / "b", monkeypatch, first_id=101)
    view = neighbours_of(here, index_of(here), 2, 5, top=3, among=(there, index_of(there)))
    row = len(features) - 1 - 35  # the query itself stands there
    assert OFFSETS[view.nearest.images[0]] + view.nearest.regions[0] == row
    assert view.nearest.files[0] == "104.png"


def test_classes_are_those_of_the_objects_that_regions_overlap(features, tmp_path, monkeypatch) -> None:
    rows = regions_of(features, tmp_path / "a", monkeypatch)
    found = neighbours_of(rows, index_of(rows), 0, 0, top=90).nearest
    boxes, start = rows.boxes, OFFSETS[found.images]
    for i in range(len(found)):
        assert np.array_equal(found.boxes[i], boxes[start[i] + found.regions[i]])
        shift = abs(found.boxes[i, 0] - boxes[start[i], 0])  # along the diagonal, sides of 10
        shared = max(0, 10 - shift) ** 2
        overlap = shared / (200 - shared)
        assert found.overlaps[i] == pytest.approx(overlap, abs=1e-6)
        assert found.labels[i] == (overlap >= 0.5)


def test_equal_cosines_keep_the_order_of_the_cache(tmp_path, monkeypatch) -> None:
    features = np.ones((sum(COUNTS), 4), np.float32)
    rows = regions_of(features, tmp_path / "a", monkeypatch)
    assert nearest(rows, np.ones(4, np.float32), 5, slice(1, 3))[0].tolist() == [0, 3, 4, 5, 6]


def test_zeros_are_like_nothing_and_infinities_are_passed_over(features, tmp_path, monkeypatch) -> None:
    features[3], features[4, 0], features[5, 1] = 0, np.inf, np.nan
    rows = regions_of(features, tmp_path / "a", monkeypatch)
    found, cosines = nearest(rows, features[0].astype(np.float32), 500)
    assert set(range(len(features))) - set(found.tolist()) == {4, 5}
    assert (found[-1], cosines[-1]) == (3, 0)


def test_large_float16_values_do_not_overflow(features, tmp_path, monkeypatch) -> None:
    features[7] = 65504
    rows = regions_of(features, tmp_path / "a", monkeypatch)
    found, cosines = nearest(rows, np.ones(8, np.float32), 1)
    assert found[0] == 7
    assert cosines[0] == pytest.approx(1)


def test_a_region_of_zeros_has_no_neighbours_of(features, tmp_path, monkeypatch) -> None:
    features[35] = 0
    rows = regions_of(features, tmp_path / "a", monkeypatch)
    with pytest.raises(InputError, match=r"3\.png:5: its fc7 is zero in every unit"):
        neighbours_of(rows, index_of(rows), 2, 5, top=3)


def test_an_image_alone_has_no_neighbours_elsewhere(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(f"{__name__}.COUNTS", (0, 0, 3, 0))
    monkeypatch.setattr(f"{__name__}.OFFSETS", np.array([0, 0, 0, 3, 3]))
    rows = regions_of(np.ones((3, 4), np.float16), tmp_path / "a", monkeypatch)
    index = Index(("cell",), tuple(ImageRecord(number, f"{number}.png", 40, 40, "") for number in range(1, 5)))
    view = neighbours_of(rows, index, 2, 0, top=5)
    assert len(view.nearest) == 0
    assert "There is no other region." in render(view, tmp_path).text()


@pytest.mark.parametrize("system", ["rcnn", "sppnet"])
def test_the_command_finds_the_planted_region(boxline, tmp_path: Path, system: str) -> None:
    png = tmp_path / "a.png"
    result = boxline("neighbours", "0.png:1", "--system", system, "--top", 3, "--split", "test", "--png", png)
    assert result.exit_code == 0, result.stderr
    first = next(line for line in result.stdout.splitlines() if line.startswith(" 1.0000"))
    assert first.split() == ["1.0000", "2.png:1", "background", "0.25", "0", "0", "64", "64"]
    assert "0.png:" not in result.stdout.partition("cosine")[2]
    assert ("pooling fc7" in result.stderr) == (system == "sppnet")
    assert min(Image.open(png).size) > 300


def test_the_same_image_counts_where_it_shall(boxline) -> None:
    same = boxline("neighbours", "0.png:1", "--same-image", "--top", 15).stdout.partition("cosine")[2]
    assert sum("0.png:" in line for line in same.splitlines()) == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("1:7",), "region 7 does not exist"),
        (("1",), "IMAGE:REGION is expected"),
        (("1:0", "--system", "sppnet", "--layer", "conv5"), "conv5 is not pooled from maps, only pool5, fc6, fc7"),
        (("0.png:1", "--split", "train"), "the stage systems/rcnn/dvc.yaml:features@train writes it"),
    ],
)
def test_a_wrong_argument_is_one_sentence(refused, arguments: tuple[str, ...], words: str) -> None:
    assert words in refused("neighbours", *arguments)
