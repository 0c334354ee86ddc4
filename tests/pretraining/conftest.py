"""Images of coloured squares on grey noise: classes that a few training steps tell apart."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from pipeline.core.boxes import as_boxes
from pipeline.core.sections import Pretrain
from pipeline.data.images import ImageCache
from pipeline.data.index import ImageRecord

COLOURS = {1: (230, 30, 30), 2: (30, 30, 230)}
SIDE = 96


@dataclass(frozen=True)
class Squares:
    """The images and their pixels."""

    images: list[ImageRecord]
    cache: ImageCache


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Squares]:
    """Return a function from the number of objects of each image to images; classes alternate."""

    def make(*counts: int, seed: int = 0) -> Squares:
        folder = tmp_path_factory.mktemp("squares")
        rng = np.random.default_rng(seed)
        images, files = [], []
        label = 0
        for number, count in enumerate(counts):
            pixels = rng.integers(100, 140, (SIDE, SIDE, 3), dtype=np.uint8)
            boxes, labels = [], []
            for place in rng.permutation(4)[:count]:
                x, y = 48 * (place % 2) + rng.integers(4, 16), 48 * (place // 2) + rng.integers(4, 16)
                side = int(rng.integers(20, 28))
                label = label % 2 + 1
                pixels[y : y + side, x : x + side] = COLOURS[label]
                boxes.append((x, y, x + side, y + side))
                labels.append(label)
            files.append(folder / f"{number}.png")
            Image.fromarray(pixels).save(files[-1])
            record = ImageRecord(
                number + 1, files[-1].name, SIDE, SIDE, "", as_boxes(boxes), np.array(labels, np.int64)
            )
            images.append(record)
        return Squares(images, ImageCache(files, 10))

    return make


@pytest.fixture(scope="session")
def settings() -> Callable[..., Pretrain]:
    """Return a function that makes the settings with some of them changed."""

    def make(steps: int = 40, **changed: object) -> Pretrain:
        values = {
            "sizes": (32, 24),
            "size_choice": "alternate",
            "compare_single_size": False,
            "pyramid": (2, 1),
            "fc_width": 32,
            "batch": 16,
            "background": 0.25,
            "flip": False,
            "schedule": {
                "steps": steps,
                "lr": 0.01,
                "decay_at": (),
                "gamma": 0.1,
                "warmup": 5,
                "momentum": 0.9,
                "weight_decay": 0.0005,
                "checkpoint_every": 20,
            },
        }
        return Pretrain.model_validate({**values, **changed})

    return make
