"""What the project needs to know of SSD (Liu et al., ECCV 2016)."""

from pipeline.registry import Published, PublishedSpeed, System
from pipeline.systems.ssd.params import Ssd

EXPANDED = "SSD, table 6, and the README of weiliu89/caffe; times: table 7"

SYSTEM = System(
    name="ssd",
    title="SSD",
    paper="Liu et al., ECCV",
    date="2016-10",
    colour="#0ea5c6",
    shown_from=0.5,  # A probability: at one half the class is more likely than all else.
    params=Ssd,
    onnx=True,
    trainings=("train",),
    published=(
        # First what the authors' code and this project train; the paper's older rows are without expansion.
        Published("SSD300 with expansion, one image", "07+12", 77.2, 1 / 46, 1 / 46, "Titan X", EXPANDED),
        Published("SSD300 with expansion, batches of 8", "07+12", 77.2, 1 / 59, 1 / 59, "Titan X", EXPANDED),
        Published("SSD512 with expansion, one image", "07+12", 79.8, 1 / 19, 1 / 19, "Titan X", EXPANDED),
        Published("SSD300 without, one image", "07+12", 74.3, 1 / 46, 1 / 46, "Titan X", "SSD, table 7"),
        Published("SSD300 without", "07", 68.0, None, None, "Titan X", "SSD, table 1"),
    ),
    published_speed=PublishedSpeed("59 images/s", "SSD300 in batches of 8, 46 one at a time; Titan X", "SSD, table 7"),
)
