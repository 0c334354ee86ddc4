"""What the project needs to know of bags of visual words (Lazebnik et al., CVPR 2006; Lampert et al., CVPR 2008)."""

from pipeline.registry import PublishedSpeed, System
from pipeline.systems.bow.params import Bow

SYSTEM = System(
    name="bow",
    title="Bag of words",
    paper="Lampert et al., CVPR",
    date="2008-06",
    colour="#8a8d2b",
    shown_from=0.0,  # An SVM decides at 0.
    params=Bow,
    # The paper has AP of two classes of VOC2007 and no mean; docs/bow.md has them.
    published_speed=PublishedSpeed("below 40 ms", "the search alone, an image of VOC2006", "Lampert et al. 2008"),
)
