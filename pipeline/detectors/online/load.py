"""From a folder of models to a detector."""

from collections.abc import Callable
from pathlib import Path

import torch

from pipeline import runtime
from pipeline.detectors.online.detector import Detector
from pipeline.detectors.online.fast_rcnn import FastRcnnDetector
from pipeline.detectors.online.faster_rcnn import FasterRcnn
from pipeline.detectors.online.rcnn import Rcnn
from pipeline.detectors.online.single_shot import SingleShot
from pipeline.detectors.online.sppnet import Sppnet
from pipeline.errors import InputError

LOADERS: dict[str, Callable[[Path, torch.device], Detector]] = {
    Rcnn.system: Rcnn.load,
    Sppnet.system: Sppnet.load,
    FastRcnnDetector.system: FastRcnnDetector.load,
    FasterRcnn.system: FasterRcnn.load,
    "yolo": SingleShot.load_yolo,
    "ssd": SingleShot.load_ssd,
}


def load(system: str, models: Path | str, device: str = "auto") -> Detector:
    """Return the detector ``system`` with what the stages left below ``models``, ready on ``device``.

    Nothing else is read: neither ``params.yaml`` nor the index.

    Args:
        system: a name in `LOADERS`.
        models: the folder that holds ``SYSTEM/`` (and, for SPP-net, ``backbone.safetensors``).
        device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda``, ``cuda:1``.

    Raises:
        InputError: there is no such system or device, or a file is missing; the sentence names the stage that writes
            it.
    """
    if system not in LOADERS:
        raise InputError(f"no detector is called {system!r}; there are {', '.join(LOADERS)}.")
    return LOADERS[system](Path(models), runtime.device(device))
