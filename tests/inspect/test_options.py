"""Options as a person types them."""

import pytest
import typer

from pipeline.inspect.options import numbers


def test_numbers_as_typed() -> None:
    assert numbers("3,17,5-8,6", "--units") == [3, 17, 5, 6, 7, 8]
    assert numbers(None, "--units") is None
    with pytest.raises(typer.BadParameter, match="3;4 is no list of numbers; 3,17,40-47 would be one"):
        numbers("3;4", "--units")
