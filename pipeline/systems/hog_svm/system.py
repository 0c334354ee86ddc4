"""What the project needs to know of HOG and SVMs (Dalal and Triggs, CVPR 2005)."""

from pipeline.registry import System
from pipeline.systems.hog_svm.params import HogSvm

SYSTEM = System(
    name="hog_svm",
    title="HOG + SVM",
    paper="Dalal and Triggs, CVPR",
    date="2005-06",
    colour="#5b7a8c",
    shown_from=0.0,  # An SVM decides at 0.
    params=HogSvm,
    # The paper judges windows of INRIA's people, before suppression; docs/hog_svm.md.
)
