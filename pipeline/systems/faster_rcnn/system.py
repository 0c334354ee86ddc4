"""What the project needs to know of Faster R-CNN (Ren et al., NIPS 2015)."""

from pipeline.registry import Published, PublishedSpeed, System
from pipeline.systems.faster_rcnn.params import FasterRcnn

SYSTEM = System(
    name="faster_rcnn",
    title="Faster R-CNN",
    paper="Ren et al., NIPS",
    date="2015-12",
    colour="#d6456b",
    shown_from=0.5,  # A probability: at one half the class is more likely than all else.
    params=FasterRcnn,
    trainings=("rpn@1", "detector@1", "rpn@2", "detector@2"),
    published=(
        # Without proposals: convolutions and region-wise part, 0.141 and 0.047.
        Published("VGG16", "07", 69.9, 0.198, 0.188, "Tesla K40", "Faster R-CNN, tables 3 and 5"),
        Published("VGG16", "07+12", 73.2, 0.198, 0.188, "Tesla K40", "Faster R-CNN, tables 3 and 5"),
    ),
    published_speed=PublishedSpeed("5 images/s", "with proposals, VGG16; Tesla K40", "Faster R-CNN, table 5"),
)
