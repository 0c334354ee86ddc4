"""The cache: shards, resume, bytes, and reading by image."""

import hashlib
import shutil

import numpy as np
import pytest

from pipeline.core.errors import InputError
from pipeline.features.cache import CHUNK_BYTES, CacheWriter, Column, FeatureCache
from pipeline.inspect.rows import CachedRows

WIDTH = 512
COLUMNS = (Column("fc7", WIDTH, "float16"), Column("pool5", 2 * WIDTH, "float32"))
ROWS = 2000
OFFSETS = np.array([0, 3, 3, 700, 1400, 1401, ROWS])
TABLES = {"offsets": OFFSETS, "image_ids": np.arange(1, 7)}


def value(start, stop, width):
    """Rows whose content is known from their number alone, with many zeros as rectified features have."""
    rows, columns = np.mgrid[start:stop, 0:width]
    return np.where((rows + columns) % 4 == 0, rows % 97 + columns % 13 / 16, 0)


def write(folder, stop_after=None, shard_mb=1):
    with CacheWriter(folder, COLUMNS, ROWS, shard_mb, TABLES, {"network": "made up"}) as writer:
        pending = writer.pending()
        for start, stop in pending[:stop_after]:
            buffers = writer.buffers(start, stop)
            for column in COLUMNS:
                buffers[column.name][:] = value(start, stop, column.width)
            writer.write(start, buffers)
    return pending


def tree(path):
    return {
        file.relative_to(path).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Return the folder of a whole cache, for tests that only read."""
    folder = tmp_path_factory.mktemp("written")
    assert len(write(folder)) > 3
    return folder


def test_what_is_written_is_read_by_image_and_by_block(written):
    cache = FeatureCache(written / "cache.zarr", "features")
    assert len(cache) == 6
    assert cache.layers() == ("fc7", "pool5")
    assert cache.attributes == {"network": "made up"}
    for layer, width in (("fc7", WIDTH), ("pool5", 2 * WIDTH)):
        seen = list(cache.images(layer, block_mb=0.5))
        assert [position for position, _ in seen] == list(range(6))
        for position, rows in seen:
            expected = value(OFFSETS[position], OFFSETS[position + 1], width).astype(rows.dtype)
            np.testing.assert_array_equal(rows, expected)
            np.testing.assert_array_equal(cache.image(position, layer), expected)
            np.testing.assert_array_equal(cache.rows(position, layer, np.arange(0, len(rows), 3)), expected[::3])


@pytest.mark.parametrize("which", [[0, 1, 2], [696, 0, 5], [40, 40, 300], [5, 690], [], [696], range(697)])
def test_some_rows_of_an_image_are_those_of_the_whole_image(written, which):
    cache = FeatureCache(written / "cache.zarr", "features")
    for position, layer, width in ((2, "fc7", WIDTH), (2, "pool5", 2 * WIDTH), (3, "pool5", 2 * WIDTH)):
        rows = cache.rows(position, layer, np.array(which, np.int64))
        whole = value(OFFSETS[position], OFFSETS[position + 1], width).astype(cache.array(layer).dtype)
        assert rows.dtype == whole.dtype
        np.testing.assert_array_equal(rows, whole[np.array(which, np.int64)])


def test_chunks_and_shards_have_the_size_the_design_asks_for(folder):
    write(folder, shard_mb=4)
    array = FeatureCache(folder / "cache.zarr", "features").array("pool5")
    assert array.chunks[0] * WIDTH * 2 * 4 == pytest.approx(CHUNK_BYTES, rel=0.01)
    assert array.shards[0] % array.chunks[0] == 0
    assert array.shards[0] * (WIDTH * 2 + WIDTH * 2 * 4) == pytest.approx(4 << 20, rel=0.3)


def test_an_interrupted_writer_goes_on_and_ends_in_the_same_bytes(folder, tmp_path):
    other = tmp_path / "undisturbed"
    other.mkdir()
    everything = write(other)
    assert write(folder, stop_after=2) == everything
    # A shard that was being written when the machine went down is not checked off; whatever it holds is replaced.
    shutil.rmtree(folder / "cache.zarr/features/fc7/c/1")
    (folder / "done" / str(everything[1][0])).unlink()
    assert write(folder) == everything[1:]
    assert tree(folder / "cache.zarr") == tree(other / "cache.zarr")


@pytest.mark.parametrize("number", [1, 8, 10, 13])
def test_a_kill_between_write_and_rename_leaves_nothing_behind(folder, written, killed, number):
    """The first seven renames make the empty cache: the group, two tables, two arrays; then come shards."""
    assert killed(__file__, "write", folder, at_rename=number)
    assert list((folder / "cache.zarr").rglob("*.partial"))
    write(folder)
    assert tree(folder / "cache.zarr") == tree(written / "cache.zarr")


@pytest.mark.slow
def test_a_kill_at_any_time_leaves_nothing_behind(folder, written, killed):
    for seconds in np.random.default_rng().uniform(0.001, 0.2, 4).tolist():
        killed(__file__, "write", folder, after=seconds)
    write(folder)
    assert tree(folder / "cache.zarr") == tree(written / "cache.zarr")


def test_zeros_are_cheap(written):
    stored = sum(f.stat().st_size for f in (written / "cache.zarr").rglob("*") if f.is_file())
    assert stored < ROWS * sum(column.row_bytes for column in COLUMNS) / 3


def test_no_rows_at_all(folder):
    with CacheWriter(folder, COLUMNS, 0, 1, {"offsets": np.zeros(1, int), "image_ids": np.zeros(0, int)}, {}) as writer:
        assert writer.pending() == []
    assert list(FeatureCache(folder / "cache.zarr", "features").images("fc7")) == []


def test_too_little_disk_space_names_both_numbers(folder, monkeypatch):
    usage = shutil.disk_usage(folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10_000_000_000))
    with pytest.raises(InputError, match=r"needs about 50\.0 GB.*disk has 10\.0 GB"):
        CacheWriter(folder, [Column("fc7", 1000, "float16")], 50_000_000, 64, {}, {})
    assert not list(folder.iterdir())


def test_a_failed_write_is_not_silent(folder):
    with (
        pytest.raises(Exception, match=r"shape|broadcast|dimension"),
        CacheWriter(folder, COLUMNS, ROWS, 1, TABLES, {}) as writer,
    ):
        writer.write(0, {"fc7": np.zeros((5, 3))})
    assert not list((folder / "done").iterdir())


def test_missing_and_foreign_caches(tmp_path, folder):
    with pytest.raises(InputError, match=r"stage systems/rcnn/dvc\.yaml:features@test writes it"):
        FeatureCache(tmp_path / "none.zarr", "systems/rcnn/dvc.yaml:features@test")
    with CacheWriter(folder, COLUMNS, 0, 1, {}, {}):
        pass
    with pytest.raises(InputError, match="not a feature cache"):
        FeatureCache(folder / "cache.zarr", "systems/rcnn/dvc.yaml:features@test")
    write_ok = tmp_path / "ok"
    write_ok.mkdir()
    write(write_ok)
    with pytest.raises(InputError, match="layer fc6 is not cached, only fc7, pool5"):
        FeatureCache(write_ok / "cache.zarr", "x").array("fc6")


def test_a_damaged_cache_is_named_with_its_stage(folder):
    write(folder)
    path = folder / "cache.zarr"
    shard = min(file for file in (path / "features/fc7/c").rglob("*") if file.is_file())
    shard.write_bytes(shard.read_bytes()[:-100])
    cache = FeatureCache(path, "the stage")
    for read in (
        lambda: list(cache.images("fc7")),
        lambda: cache.image(0, "fc7"),
        lambda: cache.rows(0, "fc7", np.array([0])),
        lambda: list(CachedRows(cache, "fc7").map(lambda start, rows: rows)),
    ):
        with pytest.raises(
            InputError,
            match=r"cache\.zarr: not a feature cache, or a file in it is damaged .* the stage the stage writes it",
        ):
            read()
    (path / "zarr.json").write_text("{")
    with pytest.raises(InputError, match=r"cache\.zarr: not a feature cache, or a file in it is damaged"):
        FeatureCache(path, "the stage")


def test_a_kill_after_the_finished_cache_was_moved_away_starts_anew(tmp_path):
    first = write(tmp_path)
    (tmp_path / "cache.zarr").rename(tmp_path / "published")
    assert write(tmp_path) == first
    assert tree(tmp_path / "cache.zarr") == tree(tmp_path / "published")
