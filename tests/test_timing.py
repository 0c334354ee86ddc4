"""Times of a detector, on one whose phases last as long as they say, by a clock that moves then alone."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.core.clock import NULL_CLOCK, Clock
from pipeline.detector import Candidates, Description, Detector, Picture
from pipeline.timing import summary, surroundings, throughput, time_images

CPU = torch.device("cpu")
LENGTHS = {"proposals": 2.0, "convolution": 3.0}


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    """Replace the clock of the timing code by one that a `Sleeper` moves."""
    time = Time()
    monkeypatch.setattr("pipeline.timing.perf_counter", time)
    monkeypatch.setattr("pipeline.core.clock.perf_counter", time)
    return time


class Sleeper(Detector):
    batched = True

    def __init__(self, time: Time) -> None:
        super().__init__(Description("sleeper", ("a",)))
        self.seen: list[int] = []
        self._time = time

    def candidates(self, pictures: Sequence[Picture], clock: Clock = NULL_CLOCK) -> list[Candidates]:
        self.seen.append(len(pictures))
        for name, seconds in LENGTHS.items():
            with clock.phase(name):
                self._time.now += seconds
        self._time.now += 1  # between the phases
        nothing = np.zeros((0, 4), np.float32)
        return [Candidates.above(None, nothing, nothing[:, :1]) for _ in pictures]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    for path in paths:
        Image.new("RGB", (20, 10)).save(path)
    return paths


def test_phases_and_total_are_as_long_as_they_are(files: list[Path], time: Time) -> None:
    detector = Sleeper(time)
    images = time_images(detector, files, 2, CPU)
    assert detector.seen == [1] * 7, "two to warm up"
    for seconds in images:
        assert seconds == {**LENGTHS, "read": 0.0, "total": 6.0, "without_proposals": 4.0}


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


def test_throughput_counts_images_in_whole_batches(files: list[Path], time: Time) -> None:
    detector = Sleeper(time)
    rate = throughput(detector, files, 4, CPU)
    assert detector.seen == [4, 4, 4], "one batch to warm up, then five files filled up to eight"
    assert rate == 8 / 12


def test_a_great_batch_is_timed_as_one(files: list[Path], time: Time) -> None:
    detector = Sleeper(time)
    throughput(detector, files, 20, CPU)
    assert detector.seen == [20, 20]


def test_surroundings_name_device_and_versions() -> None:
    found = surroundings(CPU)
    assert found["device"] == "cpu"
    assert found["device_name"]
    assert found["threads"] == torch.get_num_threads()
    assert found["torch"] == torch.__version__
    # The package's version has a fourth number, which cv2 does not tell.
    assert found["opencv"].startswith(cv2.__version__)


def test_the_opencv_that_is_installed_is_the_one_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four packages hold the module cv2; on a machine without a proposal engine it may be any of them."""
    versions = {"opencv-python": "4.9.0.80", "torchvision": "0.1"}
    monkeypatch.setattr("pipeline.timing.packages_distributions", lambda: {"cv2": ["opencv-python"]})
    monkeypatch.setattr("pipeline.timing.version", versions.__getitem__)
    assert surroundings(CPU)["opencv"] == "4.9.0.80"
