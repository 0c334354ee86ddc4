"""What the project needs to know of YOLO v1 (Redmon et al., CVPR 2016)."""

from pipeline.registry import Published, PublishedSpeed, System
from pipeline.systems.yolo.params import YoloV1

SYSTEM = System(
    name="yolo",
    title="YOLO v1",
    paper="Redmon et al., CVPR",
    date="2016-06",
    colour="#8b5cf6",
    shown_from=0.2,  # A probability times the overlap that it expects; darknet's demo starts here.
    params=YoloV1,
    onnx=True,
    trainings=("train",),
    published=(Published("24 convolutions", "07+12", 63.4, 1 / 45, 1 / 45, "Titan X", "YOLO, table 1"),),
    published_speed=PublishedSpeed("45 images/s", "Titan X", "YOLO, table 1"),
)
