"""What the project needs to know of SSD (Liu et al., ECCV 2016)."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.systems import Published, PublishedSpeed, System
from pipeline.systems.ssd.params import Ssd

if TYPE_CHECKING:
    import torch

    from pipeline.data.index import Index
    from pipeline.detector import Description, Detector
    from pipeline.params import Params


def load(models: Path, device: "torch.device") -> "Detector":
    """Return the detector for pictures; see `System.load`."""
    from pipeline.detector import Description

    return _load(Description.load(models / "ssd", "ssd"), models / "ssd", device)


def on_test_split(params: "Params", index: "Index", device: "torch.device") -> "Detector":
    """Return the detector for the test split; see `System.on_test_split`."""
    from pipeline.detector import Description

    detect = params.section(Ssd).detect
    return _load(Description.of("ssd", index.classes, detect=detect), Path("models/ssd"), device)


def _load(description: "Description", folder: Path, device: "torch.device") -> "Detector":
    from pipeline.systems.square import SquareDetector
    from pipeline.systems.ssd.network import Ssd as Network

    network = Network.load(folder / "network.safetensors", "ssd_train")
    return SquareDetector(description, network, network.decode, network.shape.side, device)


SYSTEM = System(
    name="ssd",
    title="SSD",
    paper="Liu et al., ECCV",
    date="2016-10",
    colour="#0ea5c6",
    shown_from=0.5,  # A probability: at one half the class is more likely than all else.
    load=load,
    on_test_split=on_test_split,
    params=Ssd,
    onnx=True,
    published=(
        Published("SSD300, one image", "07+12", 74.3, 1 / 46, 1 / 46, "Titan X", "SSD, table 7"),
        Published("SSD300, batches of 8", "07+12", 74.3, 1 / 59, 1 / 59, "Titan X", "SSD, table 7"),
    ),
    published_speed=PublishedSpeed("59 images/s", "SSD300 in batches of 8, 46 one at a time; Titan X", "SSD, table 7"),
)
