"""Caches and images by their names; a cache that cannot be opened is refused by a sentence that names the stage."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr

from pipeline.core.errors import InputError
from pipeline.data.index import SPLITS, ImageRecord, Index
from pipeline.features.cache import CacheWriter, Column
from pipeline.inspect.paths import find_image, named_cache, open_cache, shards, stage_of

STAGE = "systems/rcnn/dvc.yaml:features@test"


@pytest.fixture(autouse=True)
def _in_project(monkeypatch, project):
    monkeypatch.chdir(project)


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


def refusal(path: Path, scratch: Path = Path("none")) -> str:
    with pytest.raises(InputError) as caught:
        open_cache(path, scratch)
    text = str(caught.value)
    assert STAGE in text
    assert str(path) in text
    assert "\n" not in text
    assert text.endswith(".") or text.endswith(").")
    return text


def test_a_finished_cache_opens(make):
    cache = make("test", fc7=np.ones((13, 4), np.float16))
    assert open_cache(cache.path).layers() == ("fc7",)


def test_a_missing_cache(tmp_path):
    assert f"dvc repro {STAGE}" in refusal(tmp_path / "features/rcnn/test.zarr")


def test_a_half_written_cache_says_how_far_it_is(tmp_path, scratch):
    assert "2 of 4 shards" in refusal(tmp_path / "features/rcnn/test.zarr", scratch)
    assert "2 of 4 shards" in refusal(scratch / "rcnn_features_test/0123/cache.zarr")


def test_a_half_written_cache_without_arrays_still_says_so(tmp_path, scratch):
    shutil.rmtree(scratch / "rcnn_features_test/0123/cache.zarr/features")
    assert "2 shards" in refusal(tmp_path / "features/rcnn/test.zarr", scratch)


def test_a_half_written_cache_on_an_object_store_says_so_too(tmp_path, scratch, prefix, tables):
    folder = (scratch / "rcnn_features_test/0123").rename(scratch / "rcnn_features_test/4567")
    shutil.rmtree(folder / "cache.zarr")
    place = replace(prefix("a"), scratch=folder)
    with CacheWriter(place, [Column("fc7", 8, "float16")], 13, 0.00005, tables, {"system": "rcnn"}) as writer:
        for start, stop in writer.pending()[:3]:
            writer.write(start, {"fc7": np.ones((stop - start, 8), np.float16)})
    assert f"3 shards in {place.url}" in refusal(tmp_path / "features/rcnn/test.zarr", scratch)


def test_foreign_caches(tmp_path, tables):
    path = tmp_path / "other.zarr"
    group = zarr.create_group(path)
    assert "offsets" in refusal(path)
    for name, table in tables.items():
        group.create_array(name, data=table)
    assert "features" in refusal(path)
    zarr.create_group(path / "features")
    assert "no layer" in refusal(path)
    group.create_array("features/fc7", shape=(13, 4), dtype="float16")
    assert "no fingerprint" in refusal(path)
    (path / "zarr.json").write_text("{")
    assert "not a feature cache" in refusal(path)
    (path / "zarr.json").write_text(json.dumps({"zarr_format": 3, "node_type": "array"}))
    assert "not a feature cache" in refusal(path)


def test_lost_shards_are_counted(make):
    cache = make("test", fc7=np.ones((13, 8), np.float16))
    array = cache.array("fc7")
    assert shards(array) == (2, 2)
    shutil.rmtree(cache.path / "features/fc7/c/1")
    assert shards(array) == (1, 2)


def split(*files: tuple[int, str]) -> Index:
    return Index(("a",), tuple(ImageRecord(number, file, 10, 10, "") for number, file in files))


INDEXES = {
    "train": split((1, "images/7.png"), (2, "images/cat_10.png")),
    "test": split((7, "images/cat_11.png"), (8, "images/cat.png"), (9, "images/Dog.JPG")),
}


@pytest.mark.parametrize(
    ("wanted", "place"),
    [
        ("2", ("train", 1)),
        ("7", ("test", 0)),  # an id goes before a name
        ("7.png", ("train", 0)),
        ("images/cat_10.png", ("train", 1)),
        ("cat", ("test", 1)),  # a whole name goes before a part of others
        ("cat_11", ("test", 0)),
        ("_10", ("train", 1)),
        ("dog", ("test", 2)),
    ],
)
def test_an_image_is_found_by_id_name_or_part(wanted: str, place: tuple[str, int]) -> None:
    found = find_image(wanted, INDEXES)
    assert (found.split, found.position) == place
    assert found.record is INDEXES[found.split].images[found.position]


def test_several_images_are_listed() -> None:
    with pytest.raises(InputError, match=r"^cat_1: 2 images match, cat_10\.png \(id 2\), cat_11\.png \(id 7\);"):
        find_image("cat_1", INDEXES)


def test_an_unknown_image_is_answered_with_those_that_exist() -> None:
    many = {"test": split(*((number, f"{number:04d}.png") for number in range(1, 10)))}
    with pytest.raises(
        InputError, match=r"horse: no image of test .* 0001\.png \(id 1\), .* 0006\.png \(id 6\), 3 more"
    ):
        find_image("horse", many)
    with pytest.raises(InputError, match="there are none"):
        find_image("", {"test": split()})


def test_caches_are_named_by_system_or_path_and_know_their_stage():
    path, layer = named_cache("rcnn", "val")
    assert (path.as_posix(), stage_of(path), layer) == (
        "features/rcnn/val.zarr",
        "systems/rcnn/dvc.yaml:features@val",
        None,
    )
    assert named_cache("sppnet:cells", "test")[1] == "cells"
    path, layer = named_cache("/runs/2024:05/features/sppnet/train.zarr", "test")
    assert (path.as_posix(), stage_of(path), layer) == (
        "/runs/2024:05/features/sppnet/train.zarr",
        "systems/sppnet/dvc.yaml:maps@train",
        None,
    )
    path, layer = named_cache("copy.zarr:fc7", "val")
    assert (path.as_posix(), stage_of(path), layer) == ("copy.zarr", STAGE, "fc7")


def test_without_a_graph_the_stage_is_the_graph_s_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert stage_of(Path("features/rcnn/test.zarr")) == "systems/rcnn/dvc.yaml"


@pytest.mark.parametrize(("system", "stage"), [("rcnn", "features"), ("sppnet", "maps")])
def test_a_cache_of_other_images_is_refused(boxline, project, monkeypatch, tmp_path, system, stage):
    for name in ("params.yaml", "features", "proposals", "models", "systems"):
        (tmp_path / name).symlink_to(project / name)
    for split in SPLITS:
        index = Index.load(project / f"data/index/{split}.json")
        Index(index.classes, index.images[:-1]).save(tmp_path / f"data/index/{split}.json")
    monkeypatch.chdir(tmp_path)
    result = boxline("image", "1", "--system", system)
    assert result.exit_code == 1
    address = f"systems/{system}/dvc.yaml:{stage}@test"
    assert f"its 4 images are not the 3 of the index; dvc repro {address} writes it anew" in result.stderr
    shutil.rmtree("data")
    assert "dvc repro index" in boxline("units").stderr
