"""What the project needs to know of RetinaNet (Lin et al., ICCV 2017)."""

from pipeline.registry import PublishedSpeed, System
from pipeline.systems.retinanet.params import Retinanet

SYSTEM = System(
    name="retinanet",
    title="RetinaNet",
    paper="Lin et al., ICCV",
    date="2017-10",
    colour="#b8860b",
    shown_from=0.3,  # A probability, which focal loss keeps low: it hardly rewards certainty.
    params=Retinanet,
    onnx=True,
    trainings=("train",),
    # The paper has no figures on VOC; those on COCO are in docs/retinanet.md.
    published_speed=PublishedSpeed(
        "8 images/s", "ResNet-101, 600 pixels, 36.0 AP on COCO; Tesla M40", "RetinaNet, table 1"
    ),
)
