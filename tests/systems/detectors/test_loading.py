"""A folder of models: what is read from it, and the sentence for what is missing."""

import shutil
from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from pipeline.nets import weights
from pipeline.registry import all_systems, load


@pytest.mark.parametrize(
    ("system", "file", "stage"),
    [
        ("bow", "bow/vocabulary.safetensors", "systems/bow/dvc.yaml:vocabulary"),
        ("bow", "bow/svm.safetensors", "systems/bow/dvc.yaml:svm"),
        ("rcnn", "rcnn/detector.json", "systems/rcnn/dvc.yaml:detect"),
        ("rcnn", "rcnn/network.safetensors", "systems/rcnn/dvc.yaml:finetune"),
        ("rcnn", "rcnn/svm.safetensors", "systems/rcnn/dvc.yaml:svm"),
        ("hog_svm", "hog_svm/filters.safetensors", "systems/hog_svm/dvc.yaml:train"),
        ("dpm", "dpm/parts.safetensors", "systems/dpm/dvc.yaml:parts"),
        ("sppnet", "sppnet/bbox.safetensors", "systems/sppnet/dvc.yaml:bbox"),
        ("sppnet", "sppnet/network.safetensors", "systems/sppnet/dvc.yaml:finetune"),
        ("sppnet", "sppnet/backbone.safetensors", "systems/sppnet/dvc.yaml:finetune"),
        ("fast_rcnn", "fast_rcnn/detector.safetensors", "systems/fast_rcnn/dvc.yaml:classifier"),
        ("faster_rcnn", "faster_rcnn/rpn2.safetensors", "systems/faster_rcnn/dvc.yaml:rpn@2"),
        ("yolo", "yolo/network.safetensors", "systems/yolo/dvc.yaml:train"),
        ("ssd", "ssd/detector.json", "systems/ssd/dvc.yaml:detect"),
        ("ssd", "ssd/network.safetensors", "systems/ssd/dvc.yaml:train"),
        ("overfeat", "overfeat/network.safetensors", "systems/overfeat/dvc.yaml:box"),
        ("localise", "localise/network.safetensors", "systems/localise/dvc.yaml:box"),
        ("retinanet", "retinanet/network.safetensors", "systems/retinanet/dvc.yaml:train"),
        ("faster_rcnn", "faster_rcnn/detector2.safetensors", "systems/faster_rcnn/dvc.yaml:detector@2"),
    ],
)
def test_a_missing_file_is_named_with_its_stage(make, tmp_path: Path, system: str, file: str, stage: str) -> None:
    models = tmp_path / "models"
    shutil.copytree(make(system).models, models)
    (models / file).unlink()
    with pytest.raises(InputError) as error:
        load(system, models, "cpu")
    assert str(models / file) in str(error.value)
    assert stage in str(error.value)
    assert str(error.value).count(".\n") == 0


def test_models_may_be_taken_elsewhere(make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make("sppnet")
    shutil.copytree(made.models, tmp_path / "taken")
    monkeypatch.chdir(tmp_path)
    assert load("sppnet", Path("taken")).classes == ("red", "blue")


def test_unknown_systems_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError,
        match=f"no system is called 'r_fcn'; there are {', '.join(all_systems())}",
    ):
        load("r_fcn", tmp_path)


def test_layers_above_other_maps_are_refused(make, tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(make("sppnet").models, models)
    file = models / "sppnet/backbone.safetensors"
    tensors, metadata = weights.load(file)
    weights.save(file, {name: tensor * 2 for name, tensor in tensors.items()}, metadata)
    with pytest.raises(InputError, match=r"other convolutions than .*backbone\.safetensors or of other scales"):
        load("sppnet", models, "cpu")
