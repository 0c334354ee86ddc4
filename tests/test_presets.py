"""Presets laid over params.yaml: what changes, what stays byte for byte, and what is refused."""

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline import params, presets
from pipeline.core.errors import InputError
from pipeline.presets import UnknownNameError

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "presets"
COMMITTED = (ROOT / "params.yaml").read_text(encoding="utf-8")
NAMES = ("digits", "folder", "tiny", "voc2007")


def lay(text: str, name: str, *assignments: str) -> str:
    values = presets.read(FOLDER, name) | presets.assigned(assignments)
    return presets.lay_over(text, values, "params.yaml")[0]


def load(text: str) -> Any:
    return YAML(typ="safe").load(text)


def leaves(value: Any) -> dict[str, Any]:
    return presets.flatten(value or {}, params.defaults())


def test_the_shipped_presets_are_listed_with_their_first_line() -> None:
    listed = presets.available(FOLDER)
    assert tuple(listed) == NAMES
    assert all(listed.values())


def test_the_committed_file_is_what_the_models_say() -> None:
    assert presets.template() == COMMITTED
    assert lay("", "digits") == COMMITTED
    assert lay(COMMITTED, "digits") == COMMITTED


@pytest.mark.parametrize(
    ("override", "lines"),
    [("rcnn.svm.C=0.01", 1), ("sppnet.svm.C=0.01", 1), ("seed=2", 1), ("proposals.max_per_image=100", 1)],
)
def test_an_experiment_changes_one_line_of_the_file(override: str, lines: int, tmp_path: Path) -> None:
    hydra = pytest.importorskip("dvc.utils.hydra")  # what `dvc exp run -S` calls
    file = tmp_path / "params.yaml"
    file.write_text(COMMITTED)
    hydra.apply_overrides(file, [override])
    before, after = COMMITTED.splitlines(), file.read_text().splitlines()
    assert sum(old != new for old, new in zip(before, after, strict=True)) == lines
    hydra.apply_overrides(file, ["systems=[ssd]", "data.fit_splits=[train]"])
    kept = [line for line in COMMITTED.splitlines() if line.strip().startswith("#")]
    assert [line for line in file.read_text().splitlines() if line.strip().startswith("#")] == kept


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_is_valid_and_holds_what_its_file_says(name: str) -> None:
    text = lay(COMMITTED, name)
    params.parse(load(text), name)
    assert leaves(load(text)) == leaves(load(COMMITTED)) | leaves(load((FOLDER / f"{name}.yaml").read_text()))


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_and_the_default_after_it_restore_every_byte(name: str) -> None:
    assert lay(lay(COMMITTED, name), "digits") == COMMITTED


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_holds_differences_only(name: str) -> None:
    defaults = leaves(params.defaults())
    same = {key for key, value in presets.read(FOLDER, name).items() if defaults[key] == value}
    assert same == set()


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_states_cost_and_score_at_its_top(name: str) -> None:
    head = (FOLDER / f"{name}.yaml").read_text().partition("\n\n")[0]
    assert all(line.startswith("#") for line in head.splitlines())
    assert "# cost: " in head
    assert "# score: " in head


def test_only_changed_values_change_and_comments_stay() -> None:
    changed = lay(COMMITTED, "digits", "rcnn.svm.C=0.01", "data.split.val=0.25")
    before, after = COMMITTED.splitlines(), changed.splitlines()
    different = [(old.strip(), new.strip()) for old, new in zip(before, after, strict=True) if old != new]
    assert different == [("split: {val: 0.2, test: 0.2}", "split: {val: 0.25, test: 0.2}"), ("C: 0.001", "C: 0.01")]


def test_changes_name_the_key_and_both_values() -> None:
    values = presets.assigned(["rcnn.svm.C=0.01", "rcnn.svm.passes=1", "data.fit_splits=[train]"])
    _, changes = presets.lay_over(COMMITTED, values, "params.yaml")
    assert [str(change) for change in changes] == [
        "data.fit_splits: [train, val] -> [train]",
        "rcnn.svm.C: 0.001 -> 0.01",
    ]


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("data.classes=[cat, dog]", ("data", "classes"), ["cat", "dog"]),
        ("data.root=my pictures, all", ("data", "root"), "my pictures, all"),
        ("data.root='a: b # c'", ("data", "root"), "a: b # c"),
        ("data.root='7'", ("data", "root"), "7"),
        ("data.mirror=null", ("data", "mirror"), None),
        ("data.split={val: 0.3, test: 0.1}", ("data", "split"), {"val": 0.3, "test": 0.1}),
        ("data.coco.annotations={train: a.json, test: b.json}", ("data", "coco", "annotations", "test"), "b.json"),
        ("evaluation.similar={pets: [cat, dog]}", ("evaluation", "similar", "pets"), ["cat", "dog"]),
        ("data.coco.annotations.train=a.json", ("data", "coco", "annotations", "train"), "a.json"),
        ("backbones.small={init: published, weights: a}", ("backbones", "small", "weights"), "a"),
        ("rcnn.svm.C=1e-4", ("rcnn", "svm", "C"), 0.0001),
        ("data.skip_unreadable=true", ("data", "skip_unreadable"), True),
    ],
)
def test_a_value_is_yaml(assignment: str, path: tuple[str, ...], value: Any) -> None:
    found = load(lay(COMMITTED, "digits", assignment))
    for key in path:
        found = found[key]
    assert found == value
    assert type(found) is type(value)


def test_a_networks_weights_may_be_a_file_of_ones_own() -> None:
    found = load(lay(COMMITTED, "folder", "backbones.squeezenet1_0.weights=mine.safetensors"))
    assert found["backbones"] == {"squeezenet1_0": {"init": "published", "weights": "mine.safetensors"}}


def test_comments_of_a_person_stay_and_missing_keys_come_back_explained() -> None:
    mine = COMMITTED.replace("seed: 1\n", "seed: 1  # of mine\n").replace(
        "# warp | square (the aspect is kept)", "# mine"
    )
    text = lay(mine, "tiny")
    assert "seed: 1  # of mine" in text
    assert "# mine" in text
    without = re.sub(r"    # warp \| square.*?\n    mode: warp\n", "", COMMITTED)
    assert without != COMMITTED
    assert lay(without, "digits") == COMMITTED
    extra = COMMITTED + "old_section:\n  key: 1\n"
    text, changes = presets.lay_over(extra, {}, "params.yaml")
    assert "old_section" not in text
    assert [change.key for change in changes] == ["old_section"]


def test_a_preset_may_be_written_in_block_layout(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("# Mine\ndata:\n  classes:\n  - cat\n  # another\n  - '7'\nseed: 3\n")
    assert presets.available(tmp_path) == {"mine": "Mine"}
    assert presets.read(tmp_path, "mine") == {"data.classes": ["cat", "7"], "seed": 3}


@pytest.mark.parametrize(
    ("name", "assignments", "words"),
    [
        ("digit", (), ["'digit'", "digits"]),
        ("xyz", (), ["'xyz'", "digits, folder, tiny, voc2007"]),
        ("digits", ("svm.C=1",), ["'svm.C'", "rcnn.svm.C"]),
        ("digits", ("rcnn.smv.C=1",), ["rcnn.svm.C"]),
        ("digits", ("rcnn.svm.C",), ["KEY=VALUE"]),
        ("digits", ("rcnn.svm={c: 1}",), ["'rcnn.svm.c'", "rcnn.svm.C"]),
        ("digits", ("=1",), ["''"]),
    ],
)
def test_an_unknown_name_lists_near_ones(name: str, assignments: tuple[str, ...], words: list[str]) -> None:
    with pytest.raises(UnknownNameError) as error:
        lay(COMMITTED, name, *assignments)
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("rcnn.svm.C=much", ["rcnn.svm.C is 'much'", "number"]),
        ("rcnn.svm.C=-1", ["rcnn.svm.C is -1", "above 0"]),
        ("data=3", ["data is 3"]),
        ("data.source=[", ["data.source", "YAML"]),
        ("data.split.val=7", ["data.split.val is 7"]),
    ],
)
def test_a_wrong_value_is_named_with_its_key(assignment: str, words: list[str]) -> None:
    with pytest.raises(InputError) as error:
        lay(COMMITTED, "digits", assignment)
    assert not isinstance(error.value, UnknownNameError)
    assert all(word in str(error.value) for word in words)


def test_faults_of_the_file_itself_are_named() -> None:
    with pytest.raises(InputError, match=r"params.yaml: not readable as YAML"):
        lay("a: [", "digits")
    with pytest.raises(InputError, match=r"params.yaml: holds no keys"):
        lay("- a", "digits")


def test_a_preset_may_be_a_file_anywhere(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("seed: 9\n", encoding="utf-8")
    assert presets.read(FOLDER, str(file)) == {"seed": 9}
    with pytest.raises(UnknownNameError, match=r"none\.yaml: there is no such file"):
        presets.read(FOLDER, str(tmp_path / "none.yaml"))
    file.write_bytes(b"seed: \xff\n")
    with pytest.raises(InputError, match=r"mine\.yaml: is not UTF-8 text"):
        presets.read(FOLDER, str(file))


def test_an_overlay_is_read_as_what_was_written(tmp_path: Path) -> None:
    values = {
        "ssd.side": 320,
        "data.root": "my: data",
        "ssd.default_boxes.ratios": [[2.0, 3.0]],
        "seed": 3,
        "ssd.taps": ["a"],
    }
    text = presets.overlay(values, {"ssd.side": "Why."}, "A heading\n\nof lines")
    assert text == (
        "# A heading\n#\n# of lines\n\nseed: 3\n\ndata:\n  root: 'my: data'\n\nssd:\n  # Why.\n  side: 320\n"
        "  taps: [a]\n  default_boxes:\n    ratios: [[2.0, 3.0]]\n"
    )
    file = tmp_path / "a.yaml"
    file.write_text(text, encoding="utf-8")
    assert presets.read(FOLDER, str(file)) == values
