"""The pictures of the page: which there are, how large, and what is drawn over them."""

import base64
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.core.errors import InputError
from pipeline.data.index import ImageRecord, Index
from pipeline.params import defaults
from pipeline.registry import all_systems
from pipeline.report import page
from pipeline.report.gallery import SIZES, chosen, gallery, tile_ratio
from pipeline.report.results import Results

EVERYTHING = 10**9


def entry(image_id, *found):
    """Return what the evaluation keeps of an image of two objects; ``found`` are rows of class 1."""
    return {"id": image_id, "detected_at": [0.9, None], "detections": [list(one) for one in found]}


def content(*entries, worst=(), surest=()):
    """Return what the evaluation keeps of a system."""
    return {
        "floor": 0.1,
        "start": {"cat & <dog>": 0.5, "car": 0.6},
        "top": 0.9,
        "worst_images": list(worst),
        "surest_errors": list(surest),
        "images": list(entries),
    }


@pytest.fixture
def show(indices, tmp_path):
    """Return a function to the gallery of the four test images, with nothing detected where nothing is given."""

    def call(shown=None, most=None, room=EVERYTHING):
        shown = {"rcnn": content(*(entry(number) for number in range(1, 5)))} if shown is None else shown
        return gallery(indices["test"], tmp_path / "photos", shown, all_systems(), most, room)

    return call


@pytest.mark.parametrize(
    ("sizes", "ratio"),
    [([(400, 300), (300, 400), (400, 300)], 4 / 3), ([(1000, 100)], 16 / 9), ([(100, 1000)], 3 / 4), ([], 1)],
)
def test_the_frame_of_the_pictures(sizes, ratio):
    assert tile_ratio(sizes) == pytest.approx(ratio, abs=1e-3)


def test_what_is_drawn(show):
    row = [1, "BG", 0.9, 1.5, 2, 3, 4]
    drawn = json.loads(show({"rcnn": content(entry(1, row), *(entry(number) for number in (2, 3, 4)))}).json)
    assert [name for name, _, _ in drawn["classes"]] == ["cat & <dog>", "car"]
    [system] = drawn["systems"]
    assert (system["title"], system["floor"], system["start"], system["top"]) == ("R-CNN", 0.1, [0.5, 0.6], 0.9)
    image = drawn["images"][0]
    assert (image["file"], image["size"]) == ("1 <b>.png", [120, 80])
    assert image["objects"] == [[1, 0, 10, 10, 30, 30], [2, 0, 20, 20, 40, 40]]
    assert image["systems"] == [{"claimed": [0.9, None], "found": [row]}]
    assert drawn["images"][3]["objects"] == [[1, 0, 10, 10, 30, 30], [2, 1, 20, 20, 40, 40]]


def test_the_lists_refer_to_places_on_the_page(show):
    entries = [entry(number) for number in range(1, 5)]
    shown = {"rcnn": content(*entries, worst=[(3, 2.5), (1, 1.0)], surest=[(3, 0), (2, 1)])}
    [system] = json.loads(show(shown, most=2).json)["systems"]
    assert system["worst"][0] == [1, 2.5]
    assert system["surest"][0] == [1, 0]
    [system] = json.loads(show(shown).json)["systems"]
    assert (system["worst"], system["surest"]) == ([[2, 2.5], [0, 1.0]], [[2, 0], [1, 1]])


def test_half_of_the_chosen_are_the_worst_of_all_systems_alike(make_index_of):
    index = make_index_of(10)
    shown = {
        "rcnn": content(worst=[(9, 3.0), (8, 2.0), (7, 1.0)]),
        "ssd": content(worst=[(2, 9.0), (9, 8.0)]),
    }
    taken = [image.id for image in chosen(index, shown, 6)]
    assert taken == sorted(taken)
    assert len(taken) == 6
    assert {9, 2, 8} <= set(taken)
    assert 7 not in taken
    assert len(chosen(index, shown, 20)) == 10
    assert chosen(index, {}, 5) == index.spread(5)


@pytest.fixture
def make_index_of(indices):
    def make(count, file="1 <b>.png"):
        first = indices["test"].images[0]
        return Index(indices["test"].classes, tuple(replace(first, id=n, file=file) for n in range(1, count + 1)))

    return make


def test_the_text_ends_no_script_element(show):
    assert "<" not in show().json


def test_an_image_that_was_not_evaluated_to_be_shown_is_named(show):
    with pytest.raises(InputError, match=r"reports/shown/rcnn\.json: image 4 .* `dvc repro evaluate@rcnn` writes"):
        show({"rcnn": content(entry(1), entry(2), entry(3))})


def photograph(path: Path, width: int, height: int) -> None:
    """Write a picture that costs as many bytes as a photograph with fine structure."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8))
    Image.blend(
        coarse.resize((width, height), Image.Resampling.BICUBIC),
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)),
        0.05,
    ).save(path, quality=90)


@pytest.fixture
def many(tmp_path):
    """Return an index of copies of one photograph."""
    photograph(tmp_path / "photo.jpg", 640, 480)

    def make(count):
        return Index(("cat",), tuple(ImageRecord(n, "photo.jpg", 640, 480, "") for n in range(1, count + 1)))

    return make


def test_photographs_get_smaller_and_in_the_end_fewer(many, tmp_path):
    large = gallery(many(12), tmp_path, {}, {}, None, EVERYTHING)
    assert (large.images, large.side, large.reduced) == (12, 640, False)
    half = gallery(many(12), tmp_path, {}, {}, None, len(large.json) // 2)
    assert half.images == 12
    assert half.reduced
    assert len(half.json) <= len(large.json) // 2
    few = gallery(many(12), tmp_path, {}, {}, None, len(large.json) // 20)
    assert few.side == SIZES[-1][0]
    assert 0 < few.images < 12
    assert len(few.json) <= len(large.json) // 20
    photo = json.loads(few.json)["images"][0]["photo"]
    assert max(Image.open(io.BytesIO(base64.b64decode(photo))).size) == SIZES[-1][0]
    assert gallery(many(12), tmp_path, {}, {}, None, 10).images == 0


@pytest.mark.slow
def test_five_hundred_images_fit_into_ten_megabytes(many, tmp_path):
    """Six systems with 16 detections in each image: all 500 are there, with smaller photographs."""
    systems = {name: all_systems()[name] for name in defaults()["systems"]}
    index = many(500)
    row = [1, "Correct", 0.87654321, 123.4, 234.5, 98.7, 87.6]
    entries = [{"id": image.id, "detected_at": [], "detections": [row] * 16} for image in index.images]
    shown = {name: {**content(*entries), "start": {"cat": 0.5}, "worst_images": [(500, 2.0)]} for name in systems}
    figures = {"map_voc07": None, "map_voc": None, "map_coco": None, "correct": 0.0, "per_class": {"cat": None}}
    metrics = {name: {**figures, "errors": {}} for name in shown}
    indices = {"train": Index(("cat",), ()), "val": Index(("cat",), ()), "test": index}
    results = Results("voc", indices, {}, systems=systems, metrics=metrics, shown=shown)
    text = page.render(results, tmp_path, None, None, 0.5, 0.95)
    assert 5_000_000 < len(text.encode()) <= 10_000_000
    assert "All 500 test images" in text
    assert "Photographs are reduced to" in text
