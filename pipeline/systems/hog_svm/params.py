"""The section of ``params.yaml`` of HOG and SVMs."""

from pipeline.core.params import Count, Fraction, Limit, Positive, PositiveFloat, Section
from pipeline.core.sections import Hog, Mining


class Window(Section):
    """What a window of the pyramid holds (Dalal and Triggs, section 6.6)."""

    aspects: Positive = 1
    """Filters of a class, each for the objects of another height over width (the paper: 1; DPM: 3)."""
    area: tuple[PositiveFloat, PositiveFloat] = (1500, 2500)
    """Least and greatest area of the object in a window, in square pixels of its level (DPM: 3000, 5000)."""
    margin: Count = 1
    """Cells of 8 pixels that a window sees around the object (the paper: 2)."""


class WindowSvm(Mining):
    """One linear SVM a filter, with hard negative mining (Dalal and Triggs, section 4)."""

    C: PositiveFloat = 0.01
    """Weight of the errors against the margin; the larger, the closer the fit."""
    positive_weight: PositiveFloat = 1
    """Errors on objects weigh this many times more."""
    retrain_after: Positive = 3000
    """So many new negatives start the next training."""
    max_negatives: Positive = 5000
    """Hardest negatives kept for each filter; bounds the memory."""
    positive_iou: Fraction = 0.7
    """Windows that overlap an object by so much train as objects; where none does, the best one, from .5 on."""
    max_positives: Positive = 3000
    """Of a filter, which bounds its time; each object has an equal share, the windows that overlap it best, but one at
    least."""
    passes: Count = 1
    """Passes over all windows of the images, which find the hard negatives; 0: the SVMs of random windows alone."""
    random_windows: Positive = 10
    """Negatives of an image that the first SVM of a filter sees."""


class WindowDetection(Section):
    """From scores of windows to detections."""

    min_score: float | None = -1
    """Only scores above this; empty: any."""
    box_fit: bool = True
    """Give an object the place in its window that objects have on average (DPM's box prediction, of the root alone)."""
    max_per_class: Limit = "auto"
    """See rcnn.detect."""
    per_class_budget: Limit = None
    """See rcnn.detect."""
    nms: Fraction = 0.3


class HogSvm(Section):
    """Histograms of oriented gradients and linear SVMs, stage by stage."""

    hog: Hog = Hog()
    window: Window = Window()
    difficult: bool = True
    """Train on difficult objects; false: they count as background."""
    svm: WindowSvm = WindowSvm()
    detect: WindowDetection = WindowDetection()
