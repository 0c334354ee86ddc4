"""What the papers report, each figure with its network, training data, hardware and place in the paper.

All on the test split of VOC2007, 11-point mAP. A paper's times are those of its own machine; where one leaves the
proposals out, so does the row, and the other time is None. Three times without proposals are sums of the parts that
the paper gives: SPP-net's convolutions and fc layers (0.053 or 0.293, and 0.089), Faster R-CNN's convolutions and
region-wise part (0.141 and 0.047). An image's time is one over the images a second for YOLO and SSD.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One row of a paper's tables.

    Attributes:
        system: our name of the system.
        network: the paper's network and, where it matters, its setting.
        trained_on: VOC trainval of 2007 (``07``) or of both years (``07+12``).
        map: in percent.
        seconds: for an image, proposals included; None where the paper gives no such time.
        seconds_without: for an image, proposals left out; None likewise.
        hardware: as far as the source says it.
        source: paper, with table or section.
    """

    system: str
    network: str
    trained_on: str
    map: float
    seconds: float | None
    seconds_without: float | None
    hardware: str
    source: str


@dataclass(frozen=True)
class PublishedSpeed:
    """How fast a paper says that its system is.

    Attributes:
        system: our name of the system.
        text: the figure in the paper's own terms.
        setting: against what, with or without proposals, network, hardware.
        source: paper, with table or section.
    """

    system: str
    text: str
    setting: str
    source: str


PUBLISHED = (
    Published("rcnn", "AlexNet, fc7 + boxes", "07", 58.5, 13, None, "a GPU", "R-CNN, section 2.2, table 2"),
    Published("rcnn", "AlexNet (S)", "07", 58.5, None, 9.8, "Tesla K40", "Fast R-CNN, table 4"),
    Published("rcnn", "VGG16 (L)", "07", 66.0, None, 47, "Tesla K40", "Fast R-CNN, table 4"),
    Published("sppnet", "ZF-5, 1 scale", "07", 58.0, None, 0.142, "a GPU", "SPP-net, table 10"),
    Published("sppnet", "ZF-5, 5 scales", "07", 59.2, None, 0.382, "a GPU", "SPP-net, table 10"),
    Published("sppnet", "ZF-5, EdgeBoxes, no box regression", "07", 56.3, 0.5, None, "a GPU", "SPP-net, section 4.3"),
    Published("sppnet", "VGG16 (L)", "07", 63.1, None, 2.3, "Tesla K40", "Fast R-CNN, table 4"),
    Published("fast_rcnn", "VGG16", "07", 66.9, 1.83, 0.32, "Tesla K40", "Fast R-CNN, table 4; Faster R-CNN, table 5"),
    Published("fast_rcnn", "VGG16, truncated SVD", "07", 66.6, None, 0.22, "Tesla K40", "Fast R-CNN, table 4"),
    Published("fast_rcnn", "VGG16", "07+12", 70.0, 1.83, 0.32, "Tesla K40", "Fast R-CNN, table 1; times as above"),
    Published("faster_rcnn", "VGG16", "07", 69.9, 0.198, 0.188, "Tesla K40", "Faster R-CNN, tables 3 and 5"),
    Published("faster_rcnn", "VGG16", "07+12", 73.2, 0.198, 0.188, "Tesla K40", "Faster R-CNN, tables 3 and 5"),
    Published("yolo", "24 convolutions", "07+12", 63.4, 1 / 45, 1 / 45, "Titan X", "YOLO, table 1"),
    Published("ssd", "SSD300, one image", "07+12", 74.3, 1 / 46, 1 / 46, "Titan X", "SSD, table 7"),
    Published("ssd", "SSD300, batches of 8", "07+12", 74.3, 1 / 59, 1 / 59, "Titan X", "SSD, table 7"),
)

TIMES = "\N{MULTIPLICATION SIGN}"
PUBLISHED_SPEEDS = (
    PublishedSpeed("rcnn", f"1{TIMES}", "13 s an image with proposals, AlexNet; a GPU", "R-CNN, section 2.2"),
    PublishedSpeed(
        "sppnet",
        f"24 to 102{TIMES}",
        "without proposals, with 1 and 5 scales: 64 and 24 against R-CNN with AlexNet, 102 and 38 with ZF-5; a GPU",
        "SPP-net, tables 9 and 10",
    ),
    PublishedSpeed(
        "fast_rcnn",
        f"146{TIMES}, with SVD 213{TIMES}",
        "without proposals, both systems with VGG16; Tesla K40",
        "Fast R-CNN, table 4",
    ),
    PublishedSpeed("faster_rcnn", "5 images/s", "with proposals, VGG16; Tesla K40", "Faster R-CNN, table 5"),
    PublishedSpeed("yolo", "45 images/s", "Titan X", "YOLO, table 1"),
    PublishedSpeed("ssd", "59 images/s", "SSD300 in batches of 8, 46 one at a time; Titan X", "SSD, table 7"),
)


def dots() -> tuple[Published, ...]:
    """Return one row a system for the chart: proposals in the time, the larger training data, one image at a time."""
    chosen: dict[str, Published] = {}
    for row in PUBLISHED:
        best = chosen.get(row.system)
        if row.seconds is not None and (best is None or row.trained_on > best.trained_on):
            chosen[row.system] = row
    return tuple(chosen.values())
