"""What the project needs to know of localisation by regression (Simonyan and Zisserman, ICLR 2015, appendix A)."""

from pipeline.registry import System
from pipeline.systems.localise.params import Localise

SYSTEM = System(
    name="localise",
    title="Localisation",
    paper="Simonyan and Zisserman, ICLR",
    date="2015-05",
    colour="#5b7f2b",
    shown_from=0.5,  # The probability of a class among all.
    task="localise",
    params=Localise,
    trainings=("train", "box"),
    # The paper localises on ILSVRC; its figures are in docs/localise.md.
)
