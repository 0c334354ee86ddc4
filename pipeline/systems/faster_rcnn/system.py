"""What the project needs to know of Faster R-CNN (Ren et al., NIPS 2015)."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.systems import Published, PublishedSpeed, System
from pipeline.systems.faster_rcnn.params import FasterRcnn

if TYPE_CHECKING:
    import torch

    from pipeline.data.index import Index
    from pipeline.detector import Detector
    from pipeline.params import Params


def load(models: Path, device: "torch.device") -> "Detector":
    """Return the detector for pictures; see `System.load`."""
    from pipeline.systems.faster_rcnn import detector

    return detector.load(models, device)


def on_test_split(params: "Params", index: "Index", device: "torch.device") -> "Detector":
    """Return the detector for the test split; see `System.on_test_split`."""
    from pipeline.systems.faster_rcnn import detector

    return detector.on_test_split(params, index, device)


SYSTEM = System(
    name="faster_rcnn",
    title="Faster R-CNN",
    paper="Ren et al., NIPS",
    date="2015-12",
    colour="#d6456b",
    shown_from=0.5,  # A probability: at one half the class is more likely than all else.
    load=load,
    on_test_split=on_test_split,
    params=FasterRcnn,
    published=(
        # Without proposals: convolutions and region-wise part, 0.141 and 0.047.
        Published("VGG16", "07", 69.9, 0.198, 0.188, "Tesla K40", "Faster R-CNN, tables 3 and 5"),
        Published("VGG16", "07+12", 73.2, 0.198, 0.188, "Tesla K40", "Faster R-CNN, tables 3 and 5"),
    ),
    published_speed=PublishedSpeed("5 images/s", "with proposals, VGG16; Tesla K40", "Faster R-CNN, table 5"),
)
