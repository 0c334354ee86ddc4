"""What the project needs to know of SPP-net (He et al., ECCV 2014)."""

from pipeline.registry import Published, PublishedSpeed, System
from pipeline.systems.sppnet.params import Sppnet

SYSTEM = System(
    name="sppnet",
    title="SPP-net",
    paper="He et al., ECCV",
    date="2014-09",
    colour="#e0862a",
    shown_from=0.0,  # An SVM decides at 0.
    params=Sppnet,
    trainings=("finetune",),
    published=(
        Published("ZF-5, 1 scale", "07", 58.0, None, 0.142, "a GPU", "SPP-net, table 10"),
        Published("ZF-5, 5 scales", "07", 59.2, None, 0.382, "a GPU", "SPP-net, table 10"),
        Published("ZF-5, EdgeBoxes, no box regression", "07", 56.3, 0.5, None, "a GPU", "SPP-net, section 4.3"),
        Published("VGG16 (L)", "07", 63.1, None, 2.3, "Tesla K40", "Fast R-CNN, table 4"),
    ),
    published_speed=PublishedSpeed(
        "24 to 102\N{MULTIPLICATION SIGN}",
        "without proposals, with 1 and 5 scales: 64 and 24 against R-CNN with AlexNet, 102 and 38 with ZF-5; a GPU",
        "SPP-net, tables 9 and 10",
    ),
)
