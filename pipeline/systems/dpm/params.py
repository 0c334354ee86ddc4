"""The section of ``params.yaml`` of deformable part models."""

from pipeline.core.params import Count, Fraction, Limit, Positive, PositiveFloat, Section
from pipeline.core.sections import Hog, Mining


class Root(Section):
    """Root filters: what a window of the coarser levels holds."""

    aspects: Positive = 1
    """Looks of a class, each for the objects of another height over width (voc-release5: 3)."""
    area: tuple[PositiveFloat, PositiveFloat] = (500, 1000)
    """Least and greatest area of the object in a window, in square pixels of its level (voc-release5: 3000, 5000)."""
    margin: Count = 1
    """Cells of 8 pixels that a window sees around the object (voc-release5: 0)."""
    mirror: bool = False
    """Apply each look mirrored, too, with the same weights; digits have no such symmetry (voc-release5: true)."""


class Parts(Section):
    """Parts at twice the resolution of the root."""

    count: Count = 6
    """Of a look (voc-release5: 8); 0: roots alone, trained as long."""
    size: Positive = 4
    """Cells of 8 pixels along a side; at most the root's at twice the resolution (voc-release5: 6)."""
    reach: Positive = 2
    """Cells by which a part moves at most, to each side (voc-release5: 4)."""


class LatentSvm(Mining):
    """Weights and placements in turn, with hard negative mining."""

    C: PositiveFloat = 0.1
    """Weight of the errors against the margin (voc-release5: 0.001, of many more objects)."""
    positive_weight: PositiveFloat = 1
    """Errors on objects weigh this many times more."""
    hard_above: float = -1.002
    """A negative with a greater score is hard and joins the training set."""
    evict_below: float = -1.1
    """A negative with a smaller score leaves it after a training."""
    retrain_after: Positive = 1000
    """So many new negatives of a class start its next training."""
    max_negatives: Positive = 3000
    """Hardest negatives kept for each look; bounds the memory."""
    tolerance: PositiveFloat = 0.001
    """Of the solver: it stops when a step lowers the objective by a smaller share (voc-release5: 1e-6)."""
    max_iterations: Positive = 300
    """Of the solver (voc-release5: 1000)."""
    positive_iou: Fraction = 0.7
    """An object is placed where a root's window overlaps it by so much; where none does, the best one, from .5 on."""
    rounds: Positive = 2
    """Times that objects are placed anew (voc-release5: 8)."""
    passes: Positive = 1
    """Passes over the images after each (voc-release5: up to 10)."""


class RootSvm(LatentSvm):
    """Root filters: linear SVMs on random windows and mined ones, then latent SVMs."""

    rounds: Positive = 1
    """Times that objects are placed anew (voc-release5: 4, then 1)."""
    passes: Positive = 2
    """Passes over the images after each (voc-release5: up to 3)."""
    max_positives: Positive = 3000
    """Of a look's first SVM (see hog_svm.svm)."""
    random_windows: Positive = 10
    """Negatives of an image that the first SVM of a filter sees."""


class DpmDetection(Section):
    """From scores of placements to detections."""

    min_score: float | None = -1
    """Only scores above this; empty: any (voc-release5: -1.1)."""
    box_prediction: bool = True
    """Give an object the box that the places of root and parts say."""
    max_per_class: Limit = "auto"
    """See rcnn.detect."""
    per_class_budget: Limit = None
    """See rcnn.detect."""
    nms: Fraction = 0.5
    """A box is dropped where a better one covers more than this share of its area."""


class Dpm(Section):
    """Deformable part models, stage by stage."""

    hog: Hog = Hog(descriptor="felzenszwalb")
    root: Root = Root()
    difficult: bool = True
    """Train on difficult objects; false: they count as background."""
    root_svm: RootSvm = RootSvm()
    parts: Parts = Parts()
    svm: LatentSvm = LatentSvm()
    detect: DpmDetection = DpmDetection()
