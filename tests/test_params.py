"""Errors in params.yaml are sentences that name the key."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from pipeline import params
from pipeline.core.errors import InputError
from pipeline.registry import all_systems
from pipeline.systems.rcnn.params import Rcnn

ROOT = Path(__file__).resolve().parent.parent
COMMITTED = ROOT / "params.yaml"


def content() -> Any:
    return YAML(typ="safe").load(COMMITTED.read_text(encoding="utf-8"))


def test_the_committed_file_is_valid_and_typed() -> None:
    p = params.load(COMMITTED)
    assert p.section(Rcnn).svm.C == 0.001
    assert p.data.fit_splits == ("train", "val")
    assert p.section(Rcnn).finetune.background_iou == (0.0, 0.5)


def change(path: str, value: Any) -> Callable[[Any], None]:
    def apply(values: Any) -> None:
        *owners, key = path.split(".")
        for owner in owners:
            values = values[owner]
        values[key] = value

    return apply


def remove(path: str) -> Callable[[Any], None]:
    def apply(values: Any) -> None:
        *owners, key = path.split(".")
        for owner in owners:
            values = values[owner]
        del values[key]

    return apply


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (change("rcnn.svm.c", 1), r"^p: rcnn\.svm\.c is no known parameter$"),
        (remove("rcnn.svm.C"), r"^p: rcnn\.svm\.C is missing; `boxline preset` writes it$"),
        (remove("proposals"), r"^p: proposals is missing; `boxline preset` writes it$"),
        (change("rcnn.svm.C", 0), r"^p: rcnn\.svm\.C is 0: a number above 0 or auto would be right$"),
        (
            change("runtime.cluster", "dask://host"),
            r"^p: runtime\.cluster is 'dask://host': .*, dask or dask://HOST:PORT",
        ),
        (
            change("runtime.store.url", "s3:/boxes"),
            r"^p: runtime\.store\.url is 's3:/boxes': s3://BUCKET/PREFIX, or nothing for this folder, would be right$",
        ),
        (
            change("runtime.store.endpoint", "host:9000"),
            r"^p: runtime\.store\.endpoint is 'host:9000': http://HOST:PORT, or nothing for AWS, would be right$",
        ),
        (change("rcnn.detect.nms", 1.5), r"rcnn\.detect\.nms is 1\.5: input should be less than or equal to 1"),
        (change("rcnn.detect.max_per_class", 0), r"^p: rcnn\.detect\.max_per_class is 0: .*above 0, auto, or nothing"),
        (change("sppnet.detect.per_class_budget", 2.5), r"per_class_budget is 2\.5: .*a whole number above 0, auto"),
        (
            change("rcnn.region.padding", 24),
            r"^p: rcnn\.region\.padding is 24: .*less than half of size 48 would be right$",
        ),
        (change("sppnet.svm.layer", "conv5"), r"^p: sppnet\.svm: layer is conv5, .* pool5, fc6 and fc7$"),
        (change("sppnet.bbox.layer", "conv5"), r"^p: sppnet\.bbox: layer is conv5, .* pool5, fc6 and fc7$"),
        (change("fast_rcnn.svm.C", "auto"), r"^p: fast_rcnn\.svm: auto is no C here, .*; a number would be right$"),
        (change("fast_rcnn.svm.layer", "pool5"), r"^p: fast_rcnn\.svm: layer is pool5, but .* on fc7$"),
        (change("data.source", "cifar"), r"data\.source is 'cifar': input should be 'digits', 'auto'"),
        (change("data.classes", ["a", "b", "a"]), r"data\.classes is \['a', 'b', 'a'\]: .*only once"),
        (change("data.fit_splits", []), r"data\.fit_splits is \[\]"),
        (
            change("sppnet.finetune.schedule.validation_batches", 8),
            r"sppnet\.finetune\.schedule: average is 200 and validation_batches 8, .*; 0 for one of the two would",
        ),
        (change("data.fit_splits", ["test"]), r"data\.fit_splits\.0 is 'test'"),
        (change("pretrain.sizes", [64, 0]), r"pretrain\.sizes\.1 is 0"),
        (
            change("systems", ["rcnn", "r_fcn"]),
            f"^p: systems names 'r_fcn', but there are only {', '.join(all_systems())}",
        ),
        (change("rcnn", None), r"^p: rcnn is None"),
        (change("ssd.backbone", "vgg16"), r"^p: ssd\.backbone is 'vgg16', but backbones lists small; `vgg16: \{"),
        (change("ssd.backbone", "vgg19"), r"^p: ssd\.backbone is 'vgg19': input should be 'small', 'squeezenet1_0'"),
        (change("backbones", {}), r"^p: rcnn\.backbone is 'small', but backbones lists nothing"),
        (change("backbones.vgg19", {}), r"backbones\.vgg19.* is 'vgg19': input should be 'small'"),
        (remove("backbones.small.weights"), r"^p: backbones\.small\.weights is missing$"),
        (change("backbones.small.weights", "a.safetensors"), r"'a\.safetensors', which init: random does not read; .*"),
    ],
)
def test_a_wrong_key_or_value_is_named(edit: Callable[[Any], None], sentence: str) -> None:
    values = content()
    edit(values)
    with pytest.raises(InputError, match=sentence):
        params.parse(values, "p")


def test_a_system_that_does_not_run_may_start_from_a_network_that_is_not_listed() -> None:
    values = content()
    change("ssd.backbone", "vgg16")(values)
    change("systems", ["rcnn"])(values)
    assert params.unused_backbones(params.parse(values, "p")) == []
    change("backbones.alexnet", {"init": "published", "weights": "data/weights/alexnet"})(values)
    assert params.unused_backbones(params.parse(values, "p")) == ["alexnet"]


def test_every_fault_is_named_at_once() -> None:
    values = content()
    change("rcnn.svm.c", 1)(values)
    remove("seed")(values)
    with pytest.raises(InputError) as error:
        params.parse(values, "p")
    assert "rcnn.svm.c is no known parameter" in str(error.value)
    assert "seed is missing" in str(error.value)


@pytest.mark.parametrize("value", [None, [], "text", 3])
def test_a_file_without_keys_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="p: holds no keys"):
        params.parse(value, "p")


def test_a_missing_file_and_a_file_that_is_not_yaml_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"params\.yaml: the file does not exist"):
        params.load(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("seed: [1,\n")
    with pytest.raises(InputError, match=r"params\.yaml: not readable as YAML"):
        params.load(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text(COMMITTED.read_text() + "seed: 2\n")
    with pytest.raises(InputError, match=r"duplicate key"):
        params.load(tmp_path / "params.yaml")


def test_parameters_never_change() -> None:
    p = params.load(COMMITTED)
    with pytest.raises(ValidationError, match="frozen"):
        p.seed = 2
