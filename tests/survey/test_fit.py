"""`boxline fit` on datasets made here and on real ones: a valid preset, the same each time, better than before."""

from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from pipeline import presets
from pipeline.data.index import ImageRecord, Index
from pipeline.params import parse
from pipeline.survey.fit import fit, schedules
from pipeline.systems.fast_rcnn.fit import fit as fit_fast_rcnn
from pipeline.systems.ssd.fit import fit as fit_ssd
from pipeline.systems.yolo.fit import fit as fit_yolo

ROOT = Path(__file__).resolve().parents[2]
PRESETS = ROOT / "presets"
FOLDER = presets.params_of(presets.read(PRESETS, "folder"), "folder")


def index_of(images: int, boxes: list[tuple[float, float, float, float]]) -> Index:
    """Return an index of images of 640 x 480 pixels with these boxes, all of one class."""
    count = len(boxes)
    records = [
        ImageRecord(
            n, "", 640, 480, "", np.array(boxes, np.float32), np.ones(count, np.int64), np.zeros(count, np.bool_)
        )
        for n in range(images)
    ]
    return Index(("a",), tuple(records))


@pytest.mark.parametrize("name", ["bccd", "voc100"])
@pytest.mark.slow
def test_a_real_dataset_gets_a_valid_preset_that_reaches_more(shared: Path, tmp_path: Path, name: str) -> None:
    text = fit(shared / "data" / name, "auto", PRESETS, Path("fitted.yaml"))
    assert text == fit(shared / "data" / name, "auto", PRESETS, Path("fitted.yaml"))
    file = tmp_path / "fitted.yaml"
    file.write_text(text, encoding="utf-8")
    base, own = presets.read(PRESETS, "folder"), presets.read(PRESETS, str(file))
    laid, _ = presets.lay_over((ROOT / "params.yaml").read_text(encoding="utf-8"), base | own, "params.yaml")
    params = parse(YAML(typ="safe").load(laid), "params.yaml")
    assert params.data.root == (shared / "data" / name).as_posix()
    assert {"faster_rcnn.anchors.sides", "faster_rcnn.anchors.ratios"} <= own.keys()
    assert "ssd.default_boxes.sides" not in own, "they train on 97 % or more as they are"
    assert not {key for key, value in own.items() if key != "data.source" and base.get(key) == value}
    rows = [line.split("%") for line in text.splitlines() if "overlapped by" in line]
    shares = [(float(before.strip("# ")), float(after)) for before, after, _ in rows]
    assert len(shares) >= 3
    assert all(after >= before for before, after in shares)


def test_default_boxes_move_where_they_train_on_too_few_objects() -> None:
    """Of 40 x 6 pixels: no default box of `folder` overlaps them by half."""
    thin = index_of(4, [(x, 100, x + 40, 106) for x in range(0, 600, 100)])
    assert {"ssd.default_boxes.sides", "ssd.default_boxes.ratios"} <= {each.key for each in fit_ssd(FOLDER, [thin])}


def test_more_images_get_as_many_passes_and_never_fewer_steps() -> None:
    """2,920 images with 5 objects each: ten times the images, 3.7 times the objects that the preset was chosen on."""
    found = {each.key: each.value for each in schedules(FOLDER, [index_of(2920, [(0, 0, 9, 9)] * 5)])}
    assert found["ssd.train.schedule.steps"] == 15000
    assert found["ssd.train.schedule.decay_at"] == [12000]
    assert found["rcnn.finetune.schedule.steps"] == 1900  # 500 * 14,600 / 3,941, two digits
    assert schedules(FOLDER, [index_of(10, [(0, 0, 9, 9)])]) == []
    more = {each.key: each.value for each in schedules(FOLDER, [index_of(9000, [(0, 0, 9, 9)])])}
    assert more["ssd.train.schedule.steps"] == 15000, "ten times at most"


def test_small_objects_get_larger_images_and_crowded_ones_more_cells() -> None:
    small = index_of(4, [(x, 100, x + 16, 116) for x in range(0, 600, 100)])
    found = {each.key: each.value for each in fit_fast_rcnn(FOLDER, [small])}
    # At a short side of 480 they have 16 pixels; two cells of 16 are twice as many.
    assert found == {"fast_rcnn.image.short_sides": [960], "fast_rcnn.image.long_side": 2000}
    # Pairs of centres 20 pixels apart share a cell of 640 / 18 pixels, and none of 640 / 36.
    pairs = [(x, y, x + 20, y + 20) for x in (65, 85, 320, 340) for y in (50, 200, 350)]
    (side,) = fit_yolo(FOLDER, [index_of(2, pairs)])
    assert side.key == "yolo.side"
    assert 300 < side.value <= 600
    assert fit_yolo(FOLDER, [small]) == []
