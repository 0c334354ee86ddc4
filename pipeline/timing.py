"""How long a detector takes for an image, phase by phase, and how many images it manages when given several."""

from collections.abc import Mapping, Sequence
from importlib.metadata import packages_distributions, version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from pipeline.core.clock import PHASES, Clock
from pipeline.core.machine import device_name
from pipeline.core.runtime import progress
from pipeline.data.images import read_image
from pipeline.detector import Detector

Seconds = Mapping[str, float]
"""Of one image, by phase; ``total``, and ``without_proposals`` what is left of it."""


def time_images(detector: Detector, files: Sequence[Path], warmup: int, device: torch.device) -> list[Seconds]:
    """Read and detect in one image of ``files`` after another and return the seconds of each.

    The first ``warmup`` are done once more before, untimed. ``total`` is measured on its own, around all phases.
    """
    for file in files[:warmup]:
        detector.detect([read_image(file)])
    return [_time_image(detector, file, device) for file in progress(files, f"timing {detector.system}")]


def _time_image(detector: Detector, file: Path, device: torch.device) -> Seconds:
    clock = Clock(device)
    start = perf_counter()
    with clock.phase("read"):
        image = read_image(file)
    detector.detect([image], clock)
    clock.wait()
    total = perf_counter() - start
    seconds: dict[str, float] = {"without_proposals": total - clock.seconds.get("proposals", 0.0), "total": total}
    return seconds | dict(clock.seconds)


def summary(images: Sequence[Seconds]) -> dict[str, float]:
    """Return median and 95th percentile over the images of all that `Seconds` holds: ``total_median`` and so on."""
    entered = [phase for phase in PHASES if any(phase in seconds for seconds in images)]
    figures = {}
    for name in (*entered, "without_proposals", "total"):
        values = [seconds.get(name, 0.0) for seconds in images]
        figures[f"{name}_median"] = round(float(np.median(values)), 6)
        figures[f"{name}_p95"] = round(float(np.percentile(values, 95)), 6)
    return figures


def throughput(detector: Detector, files: Sequence[Path], batch: int, device: torch.device) -> float:
    """Return how many images a second come out when they go in ``batch`` at a time, read beforehand.

    The files are repeated where they are fewer than a batch; one batch is done before, untimed.
    """
    images = [read_image(file) for file in files]
    images += [images[place % len(images)] for place in range(-len(images) % batch)]
    detector.detect(images[:batch], at_once=batch)
    clock = Clock(device)
    clock.wait()
    start = perf_counter()
    for first in range(0, len(images), batch):
        detector.detect(images[first : first + batch], at_once=batch)
    clock.wait()
    return len(images) / (perf_counter() - start)


def surroundings(device: torch.device) -> dict[str, Any]:
    """Return where the times were taken: kind and name of the device, CPU threads, versions of the libraries."""
    return {
        "device": device.type,
        "device_name": device_name(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
        "opencv": version(packages_distributions()["cv2"][0]),  # of several packages, whichever is installed
    }
