import pickle

import pytest

from pipeline.imaging import ImageOrder


@pytest.mark.parametrize(("count", "per_step", "flip"), [(5, 2, False), (5, 2, True), (1, 3, False), (4, 4, True)])
def test_each_pass_holds_every_image_once(count: int, per_step: int, flip: bool) -> None:
    order, size = ImageOrder(count, per_step, flip, seed=3), count * (2 if flip else 1)
    drawn = [entry for step in range(3 * size) for entry in order(step)]
    everything = {
        (position, mirrored) for position in range(count) for mirrored in ((False, True) if flip else (False,))
    }
    passes = [drawn[start : start + size] for start in range(0, len(drawn), size)]
    assert all(set(one) == everything for one in passes)
    assert size < 4 or len({tuple(one) for one in passes}) > 1


def test_a_step_is_the_same_in_any_order_and_in_a_worker() -> None:
    order = ImageOrder(7, 2, True, seed=3)
    late = order(40)
    copy = pickle.loads(pickle.dumps(order))
    assert [copy(step) for step in (3, 40)] == [order(3), late]
    assert [ImageOrder(7, 2, True, seed=4)(step) for step in range(9)] != [order(step) for step in range(9)]
