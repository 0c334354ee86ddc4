"""Parameters."""

from pipeline.core.params import Positive, Section
from pipeline.core.sections import BoxRegression, Detection, Features, Region, Svm, WindowSampling


class Finetune(WindowSampling):
    """Fine-tuning on warped regions (R-CNN, section 2.3)."""

    flip: bool


class Rcnn(Section):
    """R-CNN, stage by stage."""

    fc_width: Positive
    region: Region
    finetune: Finetune
    features: Features
    svm: Svm
    bbox: BoxRegression
    detect: Detection
