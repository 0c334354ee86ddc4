"""Exported rows are the cache's, with what they belong to."""

import json

import h5py
import numpy as np
import pytest

from pipeline.core.errors import InputError
from pipeline.inspect.export import choose, write
from pipeline.inspect.rows import CachedRows

VALUES = np.arange(13 * 4).reshape(13, 4).astype(np.float16)


@pytest.fixture
def layer(make):
    return CachedRows(make("test", fc7=VALUES), "fc7")


def read(path):
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            content = dict(file)
        return content, content.pop("classes").tolist(), json.loads(str(content.pop("attributes")))
    with h5py.File(path) as file:
        arrays = {name: file[name][()] for name in file}
        return arrays, list(file.attrs["classes"]), json.loads(file.attrs["attributes"])


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".hdf5"])
@pytest.mark.parametrize(
    ("conditions", "rows"),
    [
        ({}, list(range(13))),
        ({"image_ids": [13, 11]}, [0, 1, 2, 3, 4, 5, 6, 10, 11, 12]),
        ({"span": (5, 9)}, [5, 6, 7, 8]),
        ({"classes": ["dog"]}, [1, 4]),
        ({"classes": ["dog", "cat"], "span": (2, 13), "image_ids": [11]}, [2, 3, 4]),
    ],
)
def test_what_is_written_is_what_was_chosen(tmp_path, layer, index, suffix, conditions, rows):
    path = tmp_path / f"out{suffix}"
    write(path, layer, choose(layer, index, **conditions))
    arrays, classes, attributes = read(path)
    assert arrays["rows"].tolist() == rows
    assert arrays["features"].dtype == np.float16
    assert np.array_equal(arrays["features"], VALUES[rows])
    assert np.array_equal(arrays["boxes"], layer.boxes[rows])
    assert np.array_equal(arrays["is_ground_truth"], layer.is_ground_truth[rows])
    assert arrays["image_ids"].tolist() == np.repeat([11, 12, 13], [7, 3, 3])[rows].tolist()
    assert arrays["labels"].tolist() == np.array([1, 2, 1, 1, 2, 0, 0, 0, 0, 0, -1, -1, 0])[rows].tolist()
    assert classes == ["cat", "dog"]
    assert attributes["network"] == "small"
    assert attributes["layer"] == "fc7"
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == [path.name]


def test_cells_are_exported_with_their_receptive_fields(tmp_path, maps, index):
    cells = CachedRows(maps, "cells")
    write(tmp_path / "out.h5", cells, choose(cells, index, image_ids=[12]))
    arrays, _, _ = read(tmp_path / "out.h5")
    assert np.array_equal(arrays["boxes"], cells.boxes[459:918])
    assert arrays["features"][:, 0].tolist() == list(range(459, 918))


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        ({"image_ids": [11, 99]}, "no image with the id 99"),
        ({"classes": ["cow"]}, "no class is called cow; the classes are cat, dog"),
        ({"span": (13, 20)}, "none of its 13 rows"),
    ],
)
def test_what_cannot_be_chosen_is_named(layer, index, conditions, words):
    with pytest.raises(InputError, match=words):
        choose(layer, index, **conditions)


def test_another_suffix_is_refused(tmp_path, layer, index):
    with pytest.raises(InputError, match="must be one of"):
        write(tmp_path / "out.csv", layer, choose(layer, index))


def test_the_command(boxline, tmp_path):
    out = tmp_path / "out.h5"
    result = boxline("export", out, "--layer", "fc7", "--images", "1-3", "--rows", "1:", "--class", "disc")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"wrote {out}: 3 of 16 regions, 16 units of fc7\n"
    with h5py.File(out) as file:
        assert file["rows"][()].tolist() == [2, 8, 10]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["out.csv"], 2, ".npz"),
        (["out.h5", "--rows", "5"], 2, "100:200"),
        (["out.h5", "--rows", "a:b"], 2, "100:200"),
        (["out.h5", "--images", "1,x"], 2, "1,x"),
        (["out.h5", "--class", "cow"], 1, "cow"),
    ],
)
def test_a_wrong_option_is_one_sentence(refused, project, arguments, code, words):
    assert words in refused("export", *arguments, code=code)
    assert not (project / "out.h5").exists()
