"""Ground truth and detections for the evaluation tests: made-up ones, and a real detector's on real photographs."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from defusedxml import ElementTree

from pipeline.core.boxes import as_boxes, from_voc
from pipeline.data.index import ImageRecord, Index
from pipeline.evaluation.detections import Detections


@pytest.fixture(scope="session")
def make_index() -> Callable[..., Index]:
    """Return a function from classes and per-image objects ``(label, box[, ignore])`` to an index; ids from 1."""

    def make(classes: Sequence[str], *images: Sequence[tuple]) -> Index:
        records = [
            ImageRecord(
                id=i,
                file=f"{i}.png",
                width=100,
                height=100,
                sha256="",
                boxes=as_boxes([item[1] for item in objects]),
                labels=np.array([item[0] for item in objects], np.int64),
                ignore=np.array([len(item) > 2 and item[2] for item in objects], np.bool_),
            )
            for i, objects in enumerate(images, 1)
        ]
        return Index(tuple(classes), tuple(records))

    return make


@pytest.fixture(scope="session")
def make_detections() -> Callable[..., Detections]:
    """Return a function from rows ``(image, label, box, score)`` to detections."""

    def make(*rows: tuple) -> Detections:
        return Detections(
            np.array([row[0] for row in rows], np.int64),
            np.array([row[1] for row in rows], np.int64),
            as_boxes([row[2] for row in rows]),
            np.array([row[3] for row in rows], np.float32),
        )

    return make


@dataclass(frozen=True)
class Case:
    """A detector's results and the ``(11 point, area)`` AP per class that py-faster-rcnn gives for them."""

    index: Index
    detections: Detections
    expected: dict[str, tuple[float, float]]


@pytest.fixture(scope="session")
def voc100(shared: Path) -> Case:
    expected = json.loads((shared / "eval_cases/voc100/expected_ap50.json").read_text())
    classes = tuple(sorted(expected))
    files = sorted((shared / "data/voc100/Annotations").glob("*.xml"))
    index = Index(classes, tuple(_record(file, i, classes) for i, file in enumerate(files, 1)))
    ids = {file.stem: i for i, file in enumerate(files, 1)}
    rows = [
        (ids[image], label, *map(float, numbers))
        for label, name in enumerate(classes, 1)
        for image, *numbers in map(str.split, (shared / f"eval_cases/voc100/det_{name}.txt").read_text().splitlines())
    ]
    table = np.array(rows)
    detections = Detections(
        table[:, 0].astype(np.int64),
        table[:, 1].astype(np.int64),
        from_voc(table[:, 3:]),
        table[:, 2].astype(np.float32),
    )
    return Case(index, detections, {name: tuple(values) for name, values in expected.items()})


def _record(file: Path, image_id: int, classes: tuple[str, ...]) -> ImageRecord:
    root = ElementTree.parse(file).getroot()
    objects = root.findall("object")
    corners = [
        [float(item.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")] for item in objects
    ]
    return ImageRecord(
        id=image_id,
        file=f"JPEGImages/{file.stem}.jpg",
        width=int(root.findtext("size/width")),
        height=int(root.findtext("size/height")),
        sha256="",
        boxes=from_voc(corners),
        labels=np.array([classes.index(item.findtext("name")) + 1 for item in objects], np.int64),
        ignore=np.array([item.findtext("difficult") == "1" for item in objects], np.bool_),
    )
