import json

import h5py
import numpy as np
import pytest

from pipeline.core.boxes import as_boxes
from pipeline.core.errors import InputError
from pipeline.data.index import ImageRecord, Index
from pipeline.proposals.store import ProposalSet

INDEX = Index(("thing",), tuple(ImageRecord(i, f"{i}.png", 100, 50, "") for i in (4, 9, 2)))


@pytest.fixture
def proposals() -> ProposalSet:
    per_image = [as_boxes([(0, 0, 100, 50), (1, 2, 3, 4)]), as_boxes([]), as_boxes([(5, 5, 9, 9)])]
    return ProposalSet.join(per_image, [4, 9, 2], "elsewhere", {"k": [50, 100]})


@pytest.fixture
def foreign(tmp_path):
    """Return a function that writes a file by h5py alone, as a stranger would, with some parts changed."""

    def write(**changes):
        parts = {
            "boxes": np.array([[0, 0, 100, 50], [1, 2, 3, 4], [5, 5, 9, 9]], np.float32),
            "offsets": np.array([0, 2, 2, 3], np.int64),
            "image_ids": np.array([4, 9, 2], np.int64),
        }
        path = tmp_path / "train.h5"
        with h5py.File(path, "w") as file:
            for name, value in {**parts, **changes}.items():
                if name == "settings":
                    file.attrs[name] = value
                elif value is not None:
                    file[name] = value
        return path

    return write


def test_there_and_back(tmp_path, proposals):
    proposals.save(tmp_path / "deep/train.h5")
    loaded = ProposalSet.load(tmp_path / "deep/train.h5", INDEX)
    assert [boxes.tolist() for boxes in loaded] == [[[0, 0, 100, 50], [1, 2, 3, 4]], [], [[5, 5, 9, 9]]]
    assert loaded.boxes_of(2).tolist() == loaded[2].tolist() == [[5, 5, 9, 9]]
    assert loaded.boxes_of(9).shape == (0, 4)
    assert (loaded.engine, loaded.settings, len(loaded)) == ("elsewhere", {"k": [50, 100]}, 3)


def test_unknown_images(proposals):
    with pytest.raises(KeyError):
        proposals.boxes_of(5)
    for position in (3, -1):
        with pytest.raises(IndexError):
            proposals[position]


def test_the_file_is_as_documented(tmp_path, proposals):
    proposals.save(tmp_path / "train.h5")
    with h5py.File(tmp_path / "train.h5") as file:
        assert {name: (str(d.dtype), d.shape) for name, d in file.items()} == {
            "boxes": ("float32", (3, 4)),
            "offsets": ("int64", (4,)),
            "image_ids": ("int64", (3,)),
        }
        assert file["offsets"][()].tolist() == [0, 2, 2, 3]
        assert json.loads(file.attrs["settings"]) == {"k": [50, 100]}


def test_the_same_bytes_twice_and_nothing_left_behind(tmp_path, proposals):
    proposals.save(tmp_path / "a.h5")
    proposals.save(tmp_path / "b.h5")
    proposals.save(tmp_path / "b.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "b.h5"]


def test_no_image_at_all(tmp_path):
    ProposalSet.join([], [], "none", {}).save(tmp_path / "val.h5")
    loaded = ProposalSet.load(tmp_path / "val.h5", Index(("thing",), ()))
    assert (len(loaded), loaded.boxes.shape) == (0, (0, 4))


def test_a_strangers_file_needs_no_attributes(foreign):
    loaded = ProposalSet.load(foreign(), INDEX)
    assert (loaded.engine, loaded.settings) == ("unknown", {})
    assert ProposalSet.load(foreign(settings='"fast"')).settings == {"settings": "fast"}


WRONG = [
    ({"boxes": None}, "no dataset 'boxes'"),
    ({"boxes": np.zeros((3, 4))}, "boxes is float64 with 2 dimensions; it must be float32 with 2"),
    ({"boxes": np.zeros(12, np.float32)}, "boxes is float32 with 1 dimensions"),
    ({"boxes": np.zeros((3, 5), np.float32)}, "5 columns"),
    ({"boxes": np.full((3, 4), np.nan, np.float32)}, "box 0 is .*finite"),
    ({"boxes": np.array([[0, 0, 1, 1], [3, 0, 3, 5], [0, 0, 1, 1]], np.float32)}, "box 1 is .*x1 < x2"),
    ({"boxes": np.array([[0, 0, 1, 1]] * 2 + [[0, 0, 101, 9]], np.float32)}, "box 2, .*out of its image 2.png of 100"),
    ({"boxes": np.array([[-1, 0, 1, 1]] * 3, np.float32)}, "box 0, .*out of its image 4.png"),
    ({"offsets": np.array([0, 2, 3], np.int64)}, "3 image_ids need 4 offsets, not 3"),
    ({"offsets": np.array([0, 2, 1, 3], np.int64)}, "rise from 0 to the number of boxes, 3"),
    ({"offsets": np.array([0, 2, 2, 2], np.int64)}, "rise from 0"),
    ({"offsets": np.array([1, 2, 2, 3], np.int64)}, "rise from 0"),
    ({"image_ids": np.array([4, 4, 2], np.int64)}, "names an image twice"),
    ({"image_ids": np.array([4, 2, 9], np.int64)}, "not the 3 ids of the index, in its order"),
    ({"settings": "{"}, "settings is not JSON"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_a_wrong_file_is_refused_by_name(foreign, changes, message):
    path = foreign(**changes)
    with pytest.raises(InputError, match=message) as caught:
        ProposalSet.load(path, INDEX)
    assert str(caught.value).startswith(f"{path}: ")


def test_missing_file_and_text_file(tmp_path):
    with pytest.raises(InputError, match=r"train\.h5: there are no proposals; .*proposals@train"):
        ProposalSet.load(tmp_path / "train.h5")
    (tmp_path / "val.h5").write_text("boxes\n")
    with pytest.raises(InputError, match=r"val\.h5: cannot be read as HDF5"):
        ProposalSet.load(tmp_path / "val.h5")
