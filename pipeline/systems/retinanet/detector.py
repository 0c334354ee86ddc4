"""RetinaNet as a detector: one network on squares, the same for pictures and for the test split."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pipeline.data.index import Index
from pipeline.detector import Description, Detector
from pipeline.systems.retinanet.network import Retinanet
from pipeline.systems.retinanet.params import Retinanet as RetinanetParams
from pipeline.systems.square_detector import load_detector

if TYPE_CHECKING:
    from pipeline.params import Params


def load(models: Path, device: torch.device) -> Detector:
    """Return the detector for pictures; see `pipeline.registry.System.load`."""
    folder = models / "retinanet"
    return load_detector(Retinanet, Description.load(folder, "retinanet"), folder, device)


def on_test_split(params: "Params", index: Index, device: torch.device) -> Detector:
    """Return the detector for the test split; see `pipeline.registry.System.on_test_split`."""
    description = Description.of("retinanet", index.classes, detect=params.section(RetinanetParams).detect)
    return load_detector(Retinanet, description, Path("models/retinanet"), device)
