"""A part of a step's items."""

import numpy as np
import pytest

from pipeline.core.errors import InputError
from pipeline.core.part import WHOLE, Part


def test_three_processes_take_every_third_item() -> None:
    parts = [Part(rank, 3) for rank in range(3)]
    assert [part.of(list("abcdefg")) for part in parts] == [["a", "d", "g"], ["b", "e"], ["c", "f"]]
    assert [part.of(np.arange(4)).tolist() for part in parts] == [[0, 3], [1], [2]]


@pytest.mark.parametrize("items", ["abc", ""])
def test_one_takes_all(items: str) -> None:
    assert WHOLE.of(items) == items


@pytest.mark.parametrize("rank", [0, 2])
def test_fewer_items_than_processes_are_refused_by_each_of_these(rank: int) -> None:
    with pytest.raises(InputError, match=r"^params\.yaml, training\.processes: found 3, but .* 2 items .*; 2 or less"):
        Part(rank, 3).of([1, 2])
