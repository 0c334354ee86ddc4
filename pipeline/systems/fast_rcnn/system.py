"""What the project needs to know of Fast R-CNN (Girshick, ICCV 2015)."""

from pipeline.registry import Published, PublishedSpeed, System
from pipeline.systems.fast_rcnn.params import FastRcnn

SYSTEM = System(
    name="fast_rcnn",
    title="Fast R-CNN",
    paper="Girshick, ICCV",
    date="2015-09",
    colour="#17a37a",
    shown_from=0.5,  # A probability: at one half the class is more likely than all else.
    params=FastRcnn,
    trainings=("train",),
    published=(
        Published("VGG16", "07", 66.9, 1.83, 0.32, "Tesla K40", "Fast R-CNN, table 4; Faster R-CNN, table 5"),
        Published("VGG16, truncated SVD", "07", 66.6, None, 0.22, "Tesla K40", "Fast R-CNN, table 4"),
        Published("VGG16", "07+12", 70.0, 1.83, 0.32, "Tesla K40", "Fast R-CNN, table 1; times as above"),
    ),
    published_speed=PublishedSpeed(
        "146\N{MULTIPLICATION SIGN}, with SVD 213\N{MULTIPLICATION SIGN}",
        "without proposals, both systems with VGG16; Tesla K40",
        "Fast R-CNN, table 4",
    ),
)
