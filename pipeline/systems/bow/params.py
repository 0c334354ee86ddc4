"""The section of ``params.yaml`` of bags of visual words."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.core.params import Count, Positive, PositiveFloat, Section
from pipeline.core.sections import Svm


class Words(Section):
    """Visual words on a grid: each patch has the word nearest to its SIFT descriptor (Lazebnik et al., section 4)."""

    step: Annotated[int, Field(ge=2)] = 6
    """Pixels from one patch to the next (the paper: 8)."""
    patch: Annotated[int, Field(ge=4)] = 16
    """Side of a patch in pixels."""
    longest: Annotated[int, Field(ge=32)] = 512
    """Images with a longer side are shrunk to it; it bounds the time for a picture."""
    vocabulary: Annotated[int, Field(ge=2, le=65536)] = 200
    """Number of words."""
    samples: Positive = 50000
    """Patches of the training images that k-means sees, as many of each image."""
    shard_mb: PositiveFloat = 1


class WholeImages(Section):
    """Classification of whole images by spatial pyramid matching (Lazebnik et al., section 3)."""

    levels: Annotated[int, Field(ge=0, le=4)] = 2
    """The finest level L has 2^L x 2^L cells; 0 is the plain bag of words."""
    kernel: Literal["intersection", "linear"] = "intersection"
    """intersection (the paper's) | linear (the product of histograms of unit norm, what it is better than)"""
    C: PositiveFloat = 10
    """Of the SVMs; an image's kernel with itself is 1."""
    exact_up_to: Count = 2000
    """Up to so many training images the intersection is exact, beyond them an explicit map of it."""


class WordSvm(Svm):
    """Linear SVMs on the words in boxes, with hard negative mining (see rcnn.svm)."""

    layer: Literal["words"] = "words"  # type: ignore[assignment]  # not one of a network's


class Search(Section):
    """Detection by efficient subwindow search (Lampert et al. 2008)."""

    min_score: float = -0.5
    """Boxes that score less are not looked for."""
    max_per_class: Positive = 5
    """Boxes of a class in an image; after each the words in it are deleted."""
    max_evaluations: Positive = 200000
    """Sets of boxes that a search in an image evaluates at most; bounds its time and memory."""


class Bow(Section):
    """Bags of visual words: whole images by spatial pyramid matching, objects by efficient subwindow search."""

    words: Words = Words()
    classify: WholeImages = WholeImages()
    difficult: bool = True
    """Train on difficult objects; false: they count as background."""
    levels: Annotated[int, Field(ge=1, le=4)] = 1
    """1: the bag of words; n: a box has 1 x 1 to n x n cells with weights of their own, and a search takes longer."""
    boxes: Positive = 100
    """Boxes of all sizes and shapes drawn at random in each training image; the SVMs see them beside the objects."""
    svm: WordSvm = WordSvm(C=0.05, C_values=(0.01, 0.03, 0.1))
    detect: Search = Search()
