"""What all sections of ``params.yaml`` are made of: frozen models and the kinds of their values."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Split = Literal["train", "val", "test"]
Layer = Literal["conv5", "pool5", "fc6", "fc7"]


def distinct(values: tuple) -> tuple:
    """Refuse values that stand twice; for ``AfterValidator``."""
    if len(set(values)) < len(values):
        raise ValueError("each value may stand only once")
    return values


class Section(BaseModel):
    """A part of the parameters: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)
