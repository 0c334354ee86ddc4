"""Settings, small images and a small split of real photographs for the proposal tests."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from pipeline.core.boxes import as_boxes, from_voc
from pipeline.core.sections import OpenCV, Proposals, SelectiveSearch
from pipeline.data.images import read_image
from pipeline.data.index import ImageRecord, Index


@pytest.fixture(scope="session")
def settings() -> Callable[..., Proposals]:
    """Return a function from changed keys to settings; the others are those of the papers' wrapper."""

    def make(engine: str = "opencv", **changes: object) -> Proposals:
        opencv = OpenCV(colours=("hsv", "lab"), k=(50, 100), similarities=("ctsf", "tsf"), sigma=0.8)
        scales = SelectiveSearch(scales=(50, 100, 150, 300), sigma=0.8)
        given = {"max_per_image": 2000, "min_side": 1, "opencv": opencv, "selectivesearch": scales}
        return Proposals(engine=engine, **{**given, **changes})

    return make


@pytest.fixture(scope="session")
def scene() -> np.ndarray:
    """Return 60 x 80 pixels of green with an orange and a blue rectangle: (10, 12, 40, 30) and (50, 35, 72, 55)."""
    image = np.full((60, 80, 3), (60, 140, 60), np.uint8)
    image[12:30, 10:40] = (230, 120, 20)
    image[35:55, 50:72] = (20, 40, 200)
    return image


@pytest.fixture
def split(tmp_path, scene) -> Index:
    """Write five variants of the scene and a flat image below ``tmp_path``; return their index."""
    variants = [scene, scene[::-1], scene[:, ::-1], scene[::-1, ::-1], scene[:40], np.full((20, 30, 3), 90, np.uint8)]
    records = []
    for i, pixels in enumerate(variants, 1):
        Image.fromarray(np.ascontiguousarray(pixels)).save(tmp_path / f"{i}.png")
        boxes, labels, ignore = as_boxes([]), np.zeros(0, np.int64), np.zeros(0, bool)
        if i == 1:
            boxes = as_boxes([(10, 12, 40, 30), (50, 35, 72, 55)])
            labels, ignore = np.array([1, 2]), np.array([False, False])
        records.append(ImageRecord(i, f"{i}.png", pixels.shape[1], pixels.shape[0], "", boxes, labels, ignore))
    return Index(("bar", "block"), tuple(records))


@pytest.fixture(scope="session")
def photographs(shared):
    """Return a function from a slice of 100 photographs to their ``(pixels, boxes)``, difficult objects left out."""
    from defusedxml.ElementTree import parse

    def read(which: slice) -> list:
        folder = shared / "data/voc100"
        files = sorted((folder / "Annotations").glob("*.xml"))[which]
        return [(read_image(folder / f"JPEGImages/{file.stem}.jpg"), _boxes(parse(file))) for file in files]

    return read


def _boxes(tree) -> np.ndarray:
    corners = [
        [float(item.find("bndbox").findtext(name)) for name in ("xmin", "ymin", "xmax", "ymax")]
        for item in tree.iter("object")
        if item.findtext("difficult") != "1"
    ]
    return from_voc(corners)
