"""What the project needs to know of SSD (Liu et al., ECCV 2016)."""

from pipeline.registry import Published, PublishedSpeed, System
from pipeline.systems.ssd.params import Ssd

SYSTEM = System(
    name="ssd",
    title="SSD",
    paper="Liu et al., ECCV",
    date="2016-10",
    colour="#0ea5c6",
    shown_from=0.5,  # A probability: at one half the class is more likely than all else.
    params=Ssd,
    onnx=True,
    published=(
        Published("SSD300, one image", "07+12", 74.3, 1 / 46, 1 / 46, "Titan X", "SSD, table 7"),
        Published("SSD300, batches of 8", "07+12", 74.3, 1 / 59, 1 / 59, "Titan X", "SSD, table 7"),
    ),
    published_speed=PublishedSpeed("59 images/s", "SSD300 in batches of 8, 46 one at a time; Titan X", "SSD, table 7"),
)
