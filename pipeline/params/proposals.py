"""The section of ``params.yaml`` on region proposals."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from pipeline.params.section import Count, Positive, PositiveFloat, Section, distinct


class SelectiveSearch(Section):
    """Settings of the ``selectivesearch`` engine: the union over several segmentation scales."""

    scales: Annotated[tuple[Positive, ...], Field(min_length=1)]
    sigma: PositiveFloat


class OpenCV(Section):
    """Settings of the ``opencv`` engine; the defaults are the fast mode of the selective search paper."""

    colours: Annotated[tuple[Literal["hsv", "lab", "rgb", "grey"], ...], Field(min_length=1)]
    k: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]
    similarities: Annotated[
        tuple[Annotated[str, Field(pattern="^[ctsf]+$"), AfterValidator(distinct)], ...], Field(min_length=1)
    ]
    sigma: PositiveFloat


class Proposals(Section):
    """Region proposals: engine, number, filter."""

    engine: Literal["selectivesearch", "opencv"]
    max_per_image: Positive
    min_side: Count
    selectivesearch: SelectiveSearch
    opencv: OpenCV
