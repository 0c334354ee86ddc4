"""What the project needs to know of R-CNN (Girshick et al., CVPR 2014)."""

from pipeline.registry import Published, PublishedSpeed, System
from pipeline.systems.rcnn.params import Rcnn

SYSTEM = System(
    name="rcnn",
    title="R-CNN",
    paper="Girshick et al., CVPR",
    date="2014-06",
    colour="#2f6fed",
    shown_from=0.0,  # An SVM decides at 0, and so does the demo of the official code.
    params=Rcnn,
    trainings=("finetune",),
    published=(
        Published("AlexNet, fc7 + boxes", "07", 58.5, 13, None, "a GPU", "R-CNN, section 2.2, table 2"),
        Published("AlexNet (S)", "07", 58.5, None, 9.8, "Tesla K40", "Fast R-CNN, table 4"),
        Published("VGG16 (L)", "07", 66.0, None, 47, "Tesla K40", "Fast R-CNN, table 4"),
    ),
    published_speed=PublishedSpeed(
        "1\N{MULTIPLICATION SIGN}", "13 s an image with proposals, AlexNet; a GPU", "R-CNN, section 2.2"
    ),
)
