"""What the project needs to know of YOLO v1 (Redmon et al., CVPR 2016)."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.systems import Published, PublishedSpeed, System
from pipeline.systems.yolo.params import YoloV1

if TYPE_CHECKING:
    import torch

    from pipeline.data.index import Index
    from pipeline.detector import Description, Detector
    from pipeline.params import Params


def load(models: Path, device: "torch.device") -> "Detector":
    """Return the detector for pictures; see `System.load`."""
    from pipeline.detector import Description

    return _load(Description.load(models / "yolo", "yolo"), models / "yolo", device)


def on_test_split(params: "Params", index: "Index", device: "torch.device") -> "Detector":
    """Return the detector for the test split; see `System.on_test_split`."""
    from pipeline.detector import Description

    detect = params.section(YoloV1).detect
    return _load(Description.of("yolo", index.classes, detect=detect), Path("models/yolo"), device)


def _load(description: "Description", folder: Path, device: "torch.device") -> "Detector":
    from pipeline.systems.square import SquareDetector
    from pipeline.systems.yolo.network import Yolo

    network = Yolo.load(folder / "network.safetensors", "yolo_train")
    return SquareDetector(description, network, network.decode, network.shape.side, device)


SYSTEM = System(
    name="yolo",
    title="YOLO v1",
    paper="Redmon et al., CVPR",
    date="2016-06",
    colour="#8b5cf6",
    shown_from=0.2,  # A probability times the overlap that it expects; darknet's demo starts here.
    load=load,
    on_test_split=on_test_split,
    params=YoloV1,
    onnx=True,
    published=(Published("24 convolutions", "07+12", 63.4, 1 / 45, 1 / 45, "Titan X", "YOLO, table 1"),),
    published_speed=PublishedSpeed("45 images/s", "Titan X", "YOLO, table 1"),
)
