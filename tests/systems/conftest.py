"""A few small images with coloured squares, and settings to train on them in seconds."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML

from pipeline import params
from pipeline.data.images import ImageCache
from pipeline.data.index import ImageRecord, Index
from pipeline.detector import Detector, detect_split
from pipeline.evaluation.detections import Detections

ROOT = Path(__file__).resolve().parents[2]
COLOURS = ((220, 40, 40), (40, 80, 220))


@pytest.fixture(scope="session")
def sections() -> params.Params:
    content = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    return params.parse(content, "params.yaml")


@pytest.fixture(scope="session")
def squares(tmp_path_factory) -> tuple[Path, list[ImageRecord]]:
    """Return a folder and eight records: one or two squares each, none in the last image."""
    root = tmp_path_factory.mktemp("squares")
    rng = np.random.default_rng(5)
    records = []
    for number in range(8):
        image = rng.integers(90, 150, (96, 112, 3), dtype=np.uint8)
        boxes, labels = [], []
        for place in range(0 if number == 7 else 1 + number % 2):
            side = int(rng.integers(24, 41))
            x, y = int(rng.integers(0, 56 - side + 1)) + 56 * place, int(rng.integers(0, 96 - side + 1))
            label = int(rng.integers(2)) + 1
            image[y : y + side, x : x + side] = COLOURS[label - 1]
            boxes.append((x, y, x + side, y + side))
            labels.append(label)
        Image.fromarray(image).save(root / f"{number}.png")
        records.append(
            ImageRecord(
                number + 1,
                f"{number}.png",
                112,
                96,
                "",
                np.array(boxes, np.float32).reshape(-1, 4),
                np.array(labels, np.int64),
                np.zeros(len(labels), np.bool_),
            )
        )
    return root, records


@pytest.fixture(scope="session")
def detected(squares) -> Callable[..., Detections]:
    """Return a function that gives the detections of a detector in `squares`, or in some of its records."""
    root, everything = squares

    def call(detector: Detector, records: Sequence[ImageRecord] = everything) -> Detections:
        return detect_split(detector, Index(("red", "blue"), tuple(records)), root, workers=1)[0]

    return call


@pytest.fixture
def cache(squares) -> ImageCache:
    root, records = squares
    return ImageCache([root / record.file for record in records], 64)


@pytest.fixture(scope="session")
def around(squares) -> list[np.ndarray]:
    """Return proposals for `squares`: boxes shaken around each object, and boxes anywhere."""
    rng = np.random.default_rng(6)
    proposals = []
    for record in squares[1]:
        near = np.repeat(record.boxes, 12, axis=0) + rng.uniform(-9, 9, (12 * len(record.boxes), 4))
        corner = rng.uniform(0, 60, (20, 2))
        anywhere = np.concatenate([corner, corner + rng.uniform(12, 36, (20, 2))], axis=1)
        proposals.append(np.clip(np.concatenate([near, anywhere]), 0, [112, 96, 112, 96]).astype(np.float32))
    return proposals


def with_values(section: Any, **values: Any) -> Any:
    """Return a copy of a parameter section with other values, nested ones as ``schedule__steps``."""
    for name, value in values.items():
        first, _, rest = name.partition("__")
        section = section.model_copy(
            update={first: with_values(getattr(section, first), **{rest: value}) if rest else value}
        )
    return section


@pytest.fixture(scope="session")
def altered():
    return with_values
