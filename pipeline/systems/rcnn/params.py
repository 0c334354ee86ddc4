"""R-CNN's section of ``params.yaml``."""

from pipeline.core.params import Positive, Section
from pipeline.core.sections import BoxRegression, Detection, Features, Network, Region, RegionSampling, Svm


class Finetune(RegionSampling):
    """Fine-tuning on warped regions (R-CNN, section 2.3): so many foreground and background regions in a batch."""

    flip: bool = False


class Rcnn(Section):
    """R-CNN, stage by stage."""

    backbone: Network = "small"
    """One of the `backbones`."""
    fc_width: Positive = 256
    """Width of fc6 and fc7 where the network has none of its own."""
    difficult: bool = True
    """Train on difficult objects, as the official code does; false: they count as background."""
    region: Region = Region()
    finetune: Finetune = Finetune()
    features: Features = Features()
    svm: Svm = Svm()
    bbox: BoxRegression = BoxRegression()
    detect: Detection = Detection()
