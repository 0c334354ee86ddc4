"""SSD as a detector: one network on squares, the same for pictures and for the test split."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pipeline.data.index import Index
from pipeline.detector import Description, Detector
from pipeline.systems.square_detector import load_detector
from pipeline.systems.ssd.network import Ssd
from pipeline.systems.ssd.params import Ssd as SsdParams

if TYPE_CHECKING:
    from pipeline.params import Params


def load(models: Path, device: torch.device) -> Detector:
    """Return the detector for pictures; see `pipeline.registry.System.load`."""
    folder = models / "ssd"
    return load_detector(Ssd, Description.load(folder, "ssd"), folder, device)


def on_test_split(params: "Params", index: Index, device: torch.device) -> Detector:
    """Return the detector for the test split; see `pipeline.registry.System.on_test_split`."""
    description = Description.of("ssd", index.classes, detect=params.section(SsdParams).detect)
    return load_detector(Ssd, description, Path("models/ssd"), device)
