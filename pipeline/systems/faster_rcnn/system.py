"""What the project needs to know of Faster R-CNN (Ren et al., NIPS 2015)."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.registry import Published, PublishedSpeed, System
from pipeline.systems.faster_rcnn.params import FasterRcnn

if TYPE_CHECKING:
    import torch

    from pipeline.detector import Detector


def load(models: Path, device: "torch.device") -> "Detector":
    """Return the trained detector; see `System.load`."""
    from pipeline.systems.faster_rcnn.detector import FasterRcnn

    return FasterRcnn.load(models, device)


SYSTEM = System(
    name="faster_rcnn",
    title="Faster R-CNN",
    paper="Ren et al., NIPS",
    date="2015-12",
    colour="#d6456b",
    shown_from=0.5,  # A probability: at one half the class is more likely than all else.
    load=load,
    params=FasterRcnn,
    published=(
        # Without proposals: convolutions and region-wise part, 0.141 and 0.047.
        Published("VGG16", "07", 69.9, 0.198, 0.188, "Tesla K40", "Faster R-CNN, tables 3 and 5"),
        Published("VGG16", "07+12", 73.2, 0.198, 0.188, "Tesla K40", "Faster R-CNN, tables 3 and 5"),
    ),
    published_speed=PublishedSpeed("5 images/s", "with proposals, VGG16; Tesla K40", "Faster R-CNN, table 5"),
)
