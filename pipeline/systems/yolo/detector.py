"""YOLO v1 as a detector: one network on squares, the same for pictures and for the test split."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pipeline.data.index import Index
from pipeline.detector import Description, Detector
from pipeline.systems.square_detector import load_detector
from pipeline.systems.yolo.network import Yolo
from pipeline.systems.yolo.params import YoloV1

if TYPE_CHECKING:
    from pipeline.params import Params


def load(models: Path, device: torch.device) -> Detector:
    """Return the detector for pictures; see `pipeline.registry.System.load`."""
    folder = models / "yolo"
    return load_detector(Yolo, Description.load(folder, "yolo"), folder, device)


def on_test_split(params: "Params", index: Index, device: torch.device) -> Detector:
    """Return the detector for the test split; see `pipeline.registry.System.on_test_split`."""
    description = Description.of("yolo", index.classes, detect=params.section(YoloV1).detect)
    return load_detector(Yolo, description, Path("models/yolo"), device)
