"""Times of a detector, on one whose phases last as long as they say."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.core.clock import NULL_CLOCK, Clock
from pipeline.detector import Candidates, Description, Detector, Picture
from pipeline.timing import summary, surroundings, throughput, time_images

CPU = torch.device("cpu")
LENGTHS = {"proposals": 0.02, "convolution": 0.03}


class Sleeper(Detector):
    batched = True

    def __init__(self) -> None:
        super().__init__(Description("sleeper", ("a",)))
        self.seen: list[int] = []

    def candidates(self, pictures: Sequence[Picture], clock: Clock = NULL_CLOCK) -> list[Candidates]:
        self.seen.append(len(pictures))
        for name, seconds in LENGTHS.items():
            with clock.phase(name):
                time.sleep(seconds)
        nothing = np.zeros((0, 4), np.float32)
        return [Candidates.above(None, nothing, nothing[:, :1]) for _ in pictures]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    for path in paths:
        Image.new("RGB", (20, 10)).save(path)
    return paths


def test_phases_and_total_are_as_long_as_they_are(files: list[Path]) -> None:
    detector = Sleeper()
    images = time_images(detector, files, 2, CPU)
    assert detector.seen == [1] * 7, "two to warm up"
    for seconds in images:
        parts = [value for name, value in seconds.items() if name not in ("total", "without_proposals")]
        assert len(parts) == 3
        assert sum(parts) == pytest.approx(seconds["total"], rel=0.05)
        assert seconds["without_proposals"] == pytest.approx(seconds["total"] - seconds["proposals"])
        for name, length in LENGTHS.items():
            assert seconds[name] >= length


def test_median_and_95th_percentile_are_those_of_the_images() -> None:
    images = [{"heads": float(n), "total": 2.0 * n, "without_proposals": 2.0 * n} for n in range(101)]
    images.append({"total": 0.0, "without_proposals": 0.0})
    figures = summary(images)
    assert list(figures) == [
        *("heads_median", "heads_p95", "without_proposals_median", "without_proposals_p95"),
        *("total_median", "total_p95"),
    ]
    assert figures["heads_median"] == pytest.approx(np.median([*range(101), 0]))
    assert figures["total_p95"] == pytest.approx(np.quantile([*range(0, 202, 2), 0], 0.95))


def test_throughput_counts_images_in_whole_batches(files: list[Path]) -> None:
    detector = Sleeper()
    rate = throughput(detector, files, 4, CPU)
    assert detector.seen == [4, 4, 4], "one batch to warm up, then five files filled up to eight"
    assert 0.5 * 4 / 0.05 < rate <= 4 / 0.05


def test_surroundings_name_device_and_versions() -> None:
    found = surroundings(CPU)
    assert found["device"] == "cpu"
    assert found["device_name"]
    assert found["threads"] == torch.get_num_threads()
    assert found["torch"] == torch.__version__
