"""What cannot be looked at is told apart, in one sentence that names the stage."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from pipeline.inspect.reading.opening import open_cache, shards_on_disk, stored_bytes

from pipeline.core.errors import InputError
from pipeline.features.cache import CacheWriter, Column

STAGE = "rcnn_features@test"


@pytest.fixture
def scratch(tmp_path: Path, tables: dict) -> Path:
    """Return a scratch folder in which two of several shards are written."""
    folder = tmp_path / ".scratch/rcnn_features_test/0123"
    folder.mkdir(parents=True)
    with CacheWriter(folder, [Column("fc7", 8, "float16")], 13, 0.00005, tables, {"system": "rcnn"}) as writer:
        assert len(writer.pending()) == 4
        for start, stop in writer.pending()[:2]:
            writer.write(start, writer.buffers(start, stop))
    return tmp_path / ".scratch"


def sentence(path: Path, scratch: Path = Path("none")) -> str:
    with pytest.raises(InputError) as caught:
        open_cache(path, STAGE, scratch)
    text = str(caught.value)
    assert STAGE in text
    assert str(path) in text
    assert "\n" not in text
    assert text.endswith(".") or text.endswith(").")
    return text


def test_a_finished_cache_opens(make):
    cache = make("test", fc7=np.ones((13, 4), np.float16))
    assert open_cache(cache.path, STAGE).layers() == ("fc7",)


def test_a_missing_cache(tmp_path):
    assert f"dvc repro {STAGE}" in sentence(tmp_path / "features/rcnn/test.zarr")


def test_a_half_written_cache_says_how_far_it_is(tmp_path, scratch):
    assert "2 of 4 shards" in sentence(tmp_path / "features/rcnn/test.zarr", scratch)
    assert "2 of 4 shards" in sentence(scratch / "rcnn_features_test/0123/cache.zarr")


def test_a_half_written_cache_without_arrays_still_says_so(tmp_path, scratch):
    shutil.rmtree(scratch / "rcnn_features_test/0123/cache.zarr/features")
    assert "2 shards" in sentence(tmp_path / "features/rcnn/test.zarr", scratch)


def test_foreign_caches(tmp_path, tables):
    path = tmp_path / "other.zarr"
    group = zarr.create_group(path)
    assert "offsets" in sentence(path)
    for name, table in tables.items():
        group.create_array(name, data=table)
    assert "features" in sentence(path)
    zarr.create_group(path / "features")
    assert "no layer" in sentence(path)
    group.create_array("features/fc7", shape=(13, 4), dtype="float16")
    assert "no fingerprint" in sentence(path)
    (path / "zarr.json").write_text("{")
    assert "not a feature cache" in sentence(path)
    (path / "zarr.json").write_text(json.dumps({"zarr_format": 3, "node_type": "array"}))
    assert "not a feature cache" in sentence(path)


def test_lost_shards_are_counted(make):
    cache = make("test", fc7=np.ones((13, 8), np.float16))
    array = cache.array("fc7")
    assert shards_on_disk(array) == (2, 2)
    files = [file for file in (cache.path / "features/fc7").rglob("*") if file.is_file()]
    assert stored_bytes(array) == sum(len(file.read_bytes()) for file in files)
    shutil.rmtree(cache.path / "features/fc7/c/1")
    assert shards_on_disk(array) == (1, 2)
