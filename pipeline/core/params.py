"""What parameter sections are made of: frozen models in which a key's type, default, range and meaning stand together.

The sentence below a field is the comment that `pipeline.presets` writes above the key in ``params.yaml``.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, model_validator

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]
Split = Literal["train", "val", "test"]
Layer = Literal["conv5", "pool5", "fc6", "fc7"]


def distinct(values: tuple) -> tuple:
    """Refuse values that stand twice; for ``AfterValidator``."""
    if len(set(values)) < len(values):
        raise ValueError("each value may stand only once")
    return values


def _limit(value: Any) -> Any:
    if value is None or value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    raise ValueError("a whole number above 0, auto, or nothing for no limit would be right")


Limit = Annotated[int | Literal["auto"] | None, PlainValidator(_limit)]
"""A number of boxes of a class; None: no limit, ``auto``: by the objects of the training images."""


def _positive_or_auto(value: Any) -> Any:
    if value == "auto" or (isinstance(value, int | float) and not isinstance(value, bool) and value > 0):
        return value
    raise ValueError("a number above 0 or auto would be right")


PositiveOrAuto = Annotated[int | float | Literal["auto"], PlainValidator(_positive_or_auto)]


class Section(BaseModel):
    """A part of the parameters: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Schedule(Section):
    """Gradient descent with momentum: a linear warmup over so many steps, then the rate times gamma at each decay.
    average: the weights are the mean of those after each of the last so many steps; 0: the last ones, as in the papers.
    clip_norm: a longer gradient, over all weights, is shortened to this length; 0: none is, as in the papers.
    validation_batches: trained on train alone, and of the checkpoints' weights those with the least loss on so many
    batches of val are kept; 0: trained on all of data.fit_splits, to the end.
    """

    steps: Count = 0
    lr: PositiveFloat = 0.001
    decay_at: tuple[Positive, ...] = ()
    gamma: PositiveFloat = 0.1
    warmup: Count = 0
    momentum: Fraction = 0.9
    weight_decay: NonNegative = 0.0005
    average: Count = 0
    clip_norm: NonNegative = 0
    validation_batches: Count = 0
    checkpoint_every: Positive = 100

    @model_validator(mode="after")
    def _one_choice_of_weights(self) -> Self:
        if self.average and self.validation_batches:
            raise ValueError(
                f"average is {self.average} and validation_batches {self.validation_batches}, but validation chooses "
                "among the weights of single steps; 0 for one of the two would be right"
            )
        return self
