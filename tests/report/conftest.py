"""A small project with results of two systems, and a reader of the page."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.core.boxes import as_boxes
from pipeline.data.index import ImageRecord, Index
from pipeline.evaluation.detections import Detections
from pipeline.evaluation.metrics import curve_points, metrics, rankings
from pipeline.evaluation.operating import curve, thresholds
from pipeline.evaluation.shown import shown
from pipeline.registry import all_systems
from pipeline.report.results import Results

CLASSES = ("cat & <dog>", "car")


@dataclass
class Element:
    """One element: tag, attributes, the text inside it, and the elements that it stands in."""

    tag: str
    attributes: dict[str, str | None]
    ancestors: "list[Element]"
    text: str = ""


class Page(HTMLParser):
    """All elements of an HTML text, in their order."""

    VOID = frozenset(("meta", "input", "br", "link"))

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        element = Element(tag, dict(attrs), list(self._open))
        self.elements.append(element)
        if tag not in self.VOID:
            self._open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.elements.append(Element(tag, dict(attrs), list(self._open)))

    def handle_endtag(self, tag):
        assert self._open[-1].tag == tag, f"</{tag}> closes <{self._open[-1].tag}>"
        self._open.pop()

    def handle_data(self, data):
        for element in self._open:
            element.text += data

    def find(self, tag: str, inside: tuple[str, str] | None = None) -> list[Element]:
        """Return the elements called ``tag``, those below an element with the attribute value ``inside``."""
        return [
            element
            for element in self.elements
            if element.tag == tag
            and (inside is None or any(parent.attributes.get(inside[0]) == inside[1] for parent in element.ancestors))
        ]


@pytest.fixture
def read_page() -> Callable[[str], Page]:
    return Page


@pytest.fixture
def indices(tmp_path: Path) -> dict[str, Index]:
    """Return three splits; the four test images, grey gradients of unlike sizes, lie below ``tmp_path / "photos"``."""
    folder = tmp_path / "photos"
    folder.mkdir()
    images = []
    for i, (width, height) in enumerate(((120, 80), (80, 120), (1400, 700), (64, 64)), 1):
        gradient = np.linspace(0, 255, width * height).reshape(height, width).astype(np.uint8)
        Image.fromarray(gradient).save(folder / f"{i} <b>.png")
        boxes = as_boxes([[10, 10, 40, 40], [20, 20, 60, 60]])
        labels, ignore = np.array([1, 2]), np.array([False, i == 4])
        images.append(ImageRecord(i, f"{i} <b>.png", width, height, "", boxes, labels, ignore))
    return {
        "train": Index(CLASSES, tuple(images[:1])),
        "val": Index(CLASSES, ()),
        "test": Index(CLASSES, tuple(images)),
    }


@pytest.fixture
def detections() -> dict[str, Detections]:
    """Return a system that detects half of the first class, after one error, and one that detects nothing right."""
    boxes = [[10, 10, 40, 40], [50, 50, 60, 60], [12, 10, 40, 40], [0, 0, 5, 5]]
    half = Detections(
        np.array([1, 1, 2, 3]), np.array([1, 1, 1, 1]), as_boxes(boxes), np.array([-0.5, 0.9, -0.7, -0.9], np.float32)
    )
    wrong = Detections(np.array([4]), np.array([2]), as_boxes([[0, 0, 5, 5]]), np.array([0.5], np.float32))
    return {"rcnn": half, "ssd": wrong}


@pytest.fixture
def make_results(indices, detections) -> Callable[..., Results]:
    """Return a function to results of the systems ``evaluated``: scores and pictures, with ``changes`` to fields."""

    def make(evaluated=("rcnn", "ssd"), *, min_score=None, **changes) -> Results:
        test = indices["test"]
        ranked = {name: rankings(test, detections[name], 0.5) for name in evaluated}
        starts = {
            name: thresholds(of) if min_score is None else dict.fromkeys(test.classes, min_score)
            for name, of in ranked.items()
        }
        content = {
            "systems": {name: all_systems()[name] for name in evaluated},
            "metrics": {name: metrics(test, detections[name], of, {}, 0.5) for name, of in ranked.items()},
            "curves": {
                name: {label: [*map(tuple, curve_points(r).tolist())] for label, r in of.items()}
                for name, of in ranked.items()
            },
            "f1": {name: {label: curve(r) for label, r in of.items() if curve(r)} for name, of in ranked.items()},
            "shown": {name: shown(test, detections[name], of, starts[name], {}, 0.5) for name, of in ranked.items()},
        }
        return replace(Results("voc", indices, {"seed": 1}, **content), **changes)

    return make
