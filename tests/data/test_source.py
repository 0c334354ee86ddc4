import pytest

from pipeline.core.sections import SplitShares
from pipeline.data.source import MANY, complete, watched

NAMES = [f"{i:04d}" for i in range(100)]
SHARES = SplitShares(val=0.2, test=0.3)


def sizes(splits: dict[str, list[str]]) -> tuple[int, int, int]:
    return len(splits["train"]), len(splits["val"]), len(splits["test"])


def disjoint(splits: dict[str, list[str]], names: list[str]) -> bool:
    return sorted(name for split in splits.values() for name in split) == names


def test_without_lists_the_shares_rule() -> None:
    splits, carved = complete({"trainval": NAMES}, SHARES, 1)
    assert sizes(splits) == (50, 20, 30)
    assert disjoint(splits, NAMES)
    assert carved == ("val", "test")


def test_seed_changes_the_split_and_order_does_not() -> None:
    first, _ = complete({"trainval": NAMES}, SHARES, 1)
    again, _ = complete({"trainval": NAMES[::-1]}, SHARES, 1)
    other, _ = complete({"trainval": NAMES}, SHARES, 2)
    assert first == again
    assert first != other


def test_an_added_image_moves_at_most_one_over_each_border() -> None:
    before, _ = complete({"trainval": NAMES}, SHARES, 1)
    after, _ = complete({"trainval": [*NAMES, "new"]}, SHARES, 1)
    moved = [name for split in before for name in before[split] if name not in after[split]]
    assert len(moved) <= 2


def test_given_lists_stay() -> None:
    lists = {"train": NAMES[:60], "val": NAMES[60:70], "trainval": NAMES[:70], "test": NAMES[70:]}
    splits, carved = complete(lists, SHARES, 1)
    assert splits == {"train": NAMES[:60], "val": NAMES[60:70], "test": NAMES[70:]}
    assert carved == ()


def test_trainval_less_one_half_is_the_other() -> None:
    splits, carved = complete({"trainval": NAMES[:70], "val": NAMES[60:70], "test": NAMES[70:]}, SHARES, 1)
    assert splits["train"] == NAMES[:60]
    assert carved == ()
    splits, carved = complete({"trainval": NAMES[:70], "train": NAMES[:60], "test": NAMES[70:]}, SHARES, 1)
    assert splits["val"] == NAMES[60:70]


def test_a_missing_test_is_taken_from_train_and_val() -> None:
    splits, carved = complete({"train": NAMES[:80], "val": NAMES[80:]}, SHARES, 1)
    assert carved == ("test",)
    assert len(splits["test"]) == 30
    assert disjoint(splits, NAMES)
    assert set(splits["train"]) <= set(NAMES[:80])


def test_a_missing_val_leaves_the_test_list_alone() -> None:
    splits, carved = complete({"train": NAMES[:50], "test": NAMES[50:]}, SHARES, 1)
    assert carved == ("val",)
    assert splits["test"] == NAMES[50:]
    assert len(splits["val"]) == 10


def test_a_lone_test_list_is_shared() -> None:
    splits, carved = complete({"test": NAMES}, SHARES, 1)
    assert carved == ("train", "val")
    assert sizes(splits) == (50, 20, 30)


def test_few_images_and_shares_of_zero() -> None:
    assert sizes(complete({"trainval": NAMES[:3]}, SHARES, 1)[0]) == (1, 1, 1)
    assert sizes(complete({"trainval": NAMES}, SplitShares(val=0, test=0.5), 1)[0]) == (50, 0, 50)
    assert sizes(complete({}, SHARES, 1)[0]) == (0, 0, 0)


@pytest.mark.parametrize("count", [0, 1, MANY, MANY + 1, 3 * MANY])
def test_many_items_pass_under_a_bar_that_knows_how_many(count: int, capsys: pytest.CaptureFixture) -> None:
    assert list(watched(iter(range(count)), "reading", "file", count)) == list(range(count))
    printed = capsys.readouterr().err
    assert (f"{count}/{count}" in printed) == (count > MANY)
    assert list(watched(iter(range(count)), "reading", "file")) == list(range(count))
    assert (f"{count}file" in capsys.readouterr().err) == (count > MANY)
