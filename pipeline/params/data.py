"""Sections of ``params.yaml`` on the dataset."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from pipeline.params.section import Count, Fraction, Positive, Section, Split, distinct


class Digits(Section):
    """The generated dataset: handwritten digits on photographs."""

    train: Positive
    val: Positive
    test: Positive
    size: Annotated[int, Field(ge=64)]
    objects: tuple[Count, Count]
    side: tuple[Positive, Positive]


class SplitShares(Section):
    """Shares of the images for a dataset that names no splits; the rest is for training."""

    val: Fraction
    test: Fraction


class Coco(Section):
    """Where a COCO dataset keeps its files, below ``data.root``."""

    images: str
    annotations: str | dict[Split, str]


class Data(Section):
    """Which images, which classes, which splits."""

    source: Literal["digits", "voc", "coco", "voc2007", "voc2012"]
    root: str
    classes: Annotated[tuple[str, ...], AfterValidator(distinct)] | None
    fit_splits: Annotated[tuple[Literal["train", "val"], ...], Field(min_length=1), AfterValidator(distinct)]
    split: SplitShares
    skip_unreadable: bool
    coco: Coco
    digits: Digits
    mirror: str | None
