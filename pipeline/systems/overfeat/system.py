"""What the project needs to know of OverFeat (Sermanet et al., ICLR 2014)."""

from pipeline.registry import PublishedSpeed, System
from pipeline.systems.overfeat.params import Overfeat

SYSTEM = System(
    name="overfeat",
    title="OverFeat",
    paper="Sermanet et al., ICLR",
    date="2014-04",
    colour="#8a6d3b",
    shown_from=2.0,  # A sum of probabilities over the windows that were merged.
    params=Overfeat,
    trainings=("train", "box"),
    # The paper has no figures on VOC; those on ILSVRC are in docs/overfeat.md.
    published_speed=PublishedSpeed("9 times R-CNN", "on ILSVRC13's detection, without proposals", "R-CNN, section 2.5"),
)
