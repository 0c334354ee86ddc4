"""What `boxline inspect batch` shows is what the training gets, and its marks are right by other means."""

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou

from pipeline import params, training
from pipeline.batch_view import Marks, Role, SeenBatches, SeenPicture
from pipeline.core.boxes import as_boxes
from pipeline.core.code import closure
from pipeline.core.part import WHOLE
from pipeline.core.sections import Region
from pipeline.data.index import ImageRecord, Index
from pipeline.features.regions import RegionSamples
from pipeline.features.warp import WarpBatch
from pipeline.registry import all_systems, system
from pipeline.stage import declarations
from pipeline.systems.rcnn.batch_view import pictures as warped_pictures
from pipeline.systems.retinanet.network import Retinanet, RetinanetShape
from pipeline.systems.square_batches import SquareBatch
from pipeline.systems.ssd.network import Ssd, SsdShape
from pipeline.systems.yolo.batch_view import pictures as cell_pictures
from pipeline.systems.yolo.training import CellBatches
from pipeline.training_images import TrainingImages

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ("red", "blue")
TRAININGS = [(each.name, stage) for each in all_systems().values() for stage in each.trainings]
TRAINED = ("rcnn.finetune", "sppnet.finetune", "fast_rcnn.train", "faster_rcnn.rpn", "faster_rcnn.detector")
TRAINED += ("yolo.train", "ssd.train", "retinanet.train", "overfeat.train", "overfeat.box", "localise.train")
TRAINED += ("localise.box",)
# Colours stay, so that a picture tells what its objects are; half of the images are mirrored where a system can.
CHANGED = [f"{key}.schedule.steps=3" for key in TRAINED]
CHANGED += [f"{key}.flip=true" for key in (*TRAINED[:1], *TRAINED[2:5], *(f"{key}.augment" for key in TRAINED[5:]))]
CHANGED += ["ssd.train.augment.photometric=false", "yolo.train.augment.saturation=1", "yolo.train.augment.exposure=1"]
CHANGED += [
    "runtime.workers=1",
    "ssd.train.batch=6",
    "yolo.train.batch=6",
    "retinanet.train.batch=6",
    "overfeat.train.batch=6",
    "overfeat.box.batch=6",
    "localise.train.batch=6",
    "localise.box.batch=6",
]


@pytest.fixture(scope="module")
def project(make_project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("project"), *CHANGED)


@pytest.fixture
def seen(project: Path, monkeypatch: pytest.MonkeyPatch, run_stage) -> Callable[[str, str], SeenBatches]:
    """Return a function that gives the batches of a training of the project."""
    monkeypatch.chdir(project)

    def batches(name: str, stage: str) -> SeenBatches:
        p = params.load()
        if name == "sppnet" and not Path("features").exists():
            for split in ("train", "val"):
                run_stage("sppnet.maps", split)
        indices = {split: Index.load(Path(f"data/index/{split}.json")) for split in ("train", "val")}
        return system(name).seen_batches(p, TrainingImages(indices, Path(p.data.root), 64), stage)

    return batches


def same(one: Any, other: Any) -> bool:
    """Whether two batches are of the same types, and equal byte for byte."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if is_dataclass(one):
        return all(same(getattr(one, each.name), getattr(other, each.name)) for each in fields(one))
    return one == other


@pytest.mark.slow
@pytest.mark.parametrize(("name", "stage"), TRAININGS)
def test_a_batch_shown_is_the_one_that_the_loop_trains_on(
    name: str, stage: str, seen, run_stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    received: dict[int, Any] = {}
    in_order = training.in_order

    def recorded(make: Callable[[int], Any], steps: range, workers: int, scratch: Path) -> Iterator[Any]:
        for step, batch in zip(steps, in_order(make, steps, workers, scratch), strict=True):
            received[step] = batch
            yield batch

    batches = seen(name, stage)
    monkeypatch.setattr(training, "in_order", recorded)
    script, *number = stage.split("@")
    run_stage(f"{name}.{script}", *number)
    assert list(received) == [0, 1, 2] == list(range(batches.steps))
    for step in (2, 0, 1):
        assert same(batches.make(step), received[step])
    assert not same(received[0], received[1])


def marks(picture: SeenPicture, *roles: Role) -> list[Marks]:
    return [each for each in picture.marks if each.role in roles]


def boxes(picture: SeenPicture, *roles: Role) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([as_boxes([]), *(each.boxes for each in marks(picture, *roles))]))


OBJECTS = (Role.OBJECT, Role.WEAK, Role.LOST)


def named(picture: SeenPicture) -> list[tuple[np.ndarray, str]]:
    """Return each box whose class is written at it, or stands in its name, and that class."""
    pairs = [(box, text) for each in picture.marks for box, text in zip(each.boxes, each.texts, strict=False)]
    return pairs + [
        (box, each.name) for each in marks(picture, Role.POSITIVE) for box in each.boxes if each.name in CLASSES
    ]


@pytest.mark.parametrize(("name", "stage"), TRAININGS)
def test_objects_and_regions_lie_where_their_colour_is(name: str, stage: str, seen) -> None:
    """A square's middle is red or blue in every view: resized, cropped, mirrored or warped."""
    batches, checked, mirrored = seen(name, stage), 0, False
    for step in range(3):
        for picture in batches.view(step):
            mirrored |= "mirrored" in picture.title
            for box, text in named(picture):
                x, y = ((box[:2] + box[2:]) / 2).astype(int)
                red, _, blue = picture.pixels[min(y, len(picture.pixels) - 1), x].tolist()
                assert (text == "red") == (red > blue)
                checked += 1
    assert checked > 4
    assert mirrored == (name in ("fast_rcnn", "faster_rcnn"))


@pytest.mark.parametrize("threshold", [0.5, 0.97])
def test_matched_default_boxes_are_those_of_another_matching(threshold: float, seen, monkeypatch) -> None:
    """With .97 no box overlaps its object by the threshold, so that each object has its best box alone."""
    loaded = params.load

    def load() -> params.Params:
        p = loaded()
        object.__setattr__(p.ssd.train, "match_iou", threshold)
        return p

    monkeypatch.setattr(params, "load", load)
    batches, ssd = seen("ssd", "train"), params.load().ssd
    shape = SsdShape.from_params("small", 2, ssd.side, ssd.taps, ssd.extra, ssd.l2_scale, ssd.default_boxes)
    network, total = Ssd(shape), 0
    for step in range(3):
        for picture in batches.view(step):
            truth = boxes(picture, *OBJECTS)
            overlaps = box_iou(network.defaults, truth)
            matched = (overlaps >= threshold).any(dim=1)
            weak = (overlaps.amax(dim=0) < threshold).sum() if len(truth) else 0
            left = overlaps.clone()
            for _ in range(len(truth)):  # bipartite matching
                box, column = divmod(int(left.argmax()), len(truth))
                matched[box] = True
                left[box], left[:, column] = -1, -1
            by_map = [int(part.sum()) for part in matched.split(network.boxes_by_map())]
            assert [len(each.boxes) for each in marks(picture, Role.POSITIVE)] == by_map
            assert {tuple(box) for box in boxes(picture, Role.POSITIVE).tolist()} == {
                tuple(box) for box in network.defaults[matched].tolist()
            }
            assert (len(boxes(picture, Role.WEAK)), len(boxes(picture, Role.LOST))) == (weak, 0)
            total += len(truth)
    assert total > 10


@pytest.mark.parametrize(("positive", "negative"), [(0.5, 0.4), (0.8, 0.5), (1, 0.95)])
def test_retinanets_anchors_are_those_of_torchvisions_matcher(
    positive: float, negative: float, seen, monkeypatch
) -> None:
    """With .95 no anchor overlaps its object by the lower threshold, so that no object trains."""
    loaded = params.load

    def load() -> params.Params:
        p = loaded()
        object.__setattr__(p.retinanet.train, "positive_iou", positive)
        object.__setattr__(p.retinanet.train, "negative_iou", negative)
        return p

    monkeypatch.setattr(params, "load", load)
    batches, total = seen("retinanet", "train"), 0
    network = Retinanet(RetinanetShape.from_params(params.load().retinanet, 2))
    for step in range(3):
        for picture in batches.view(step):
            truth = boxes(picture, *OBJECTS)
            if not len(truth):
                assert not len(boxes(picture, Role.POSITIVE))
                continue
            overlaps = box_iou(truth, network.anchors)
            matched = Matcher(positive, negative, allow_low_quality_matches=True)(overlaps)
            matched[overlaps.amax(dim=0) < negative] = Matcher.BELOW_LOW_THRESHOLD
            by_level = [int((part >= 0).sum()) for part in matched.split(network.by_level)]
            assert [len(each.boxes) for each in marks(picture, Role.POSITIVE)] == by_level
            assert torch.equal(boxes(picture, Role.POSITIVE), network.anchors[matched >= 0])
            found = torch.isin(torch.arange(len(truth)), matched)
            near = overlaps.amax(dim=1) >= positive
            assert len(boxes(picture, Role.OBJECT)) == int((found & near).sum())
            assert len(boxes(picture, Role.WEAK)) == int((found & ~near).sum())
            assert len(boxes(picture, Role.LOST)) == int((~found).sum())
            total += len(truth)
    assert total > 10


def test_cells_are_responsible_for_the_first_object_whose_centre_they_hold() -> None:
    """A grid of 4 x 4 cells of 16 pixels; the second object has the first one's cell, the third is too small."""
    first = torch.tensor([[0.0, 0, 30, 30], [10, 10, 20, 20], [40, 40, 40.5, 50], [32, 0, 64, 32]])
    made = SquareBatch(
        torch.zeros(2, 3, 64, 64, dtype=torch.uint8),
        (first, torch.zeros(0, 4)),
        (torch.tensor([1, 2, 1, 2]), torch.zeros(0, dtype=torch.int64)),
        (5, 6),
    )
    images = TrainingImages(
        {"train": Index(CLASSES, tuple(ImageRecord(n, f"a/{n}.png", 64, 64, "") for n in (5, 6)))}, Path(), 1
    )
    batches = CellBatches(lambda step, part=WHOLE: made, 64, 4)  # type: ignore[arg-type]
    one, two = cell_pictures(batches, images, 0)
    assert (one.title, two.title) == ("5", "6")
    assert [(each.name, each.boxes.tolist()) for each in marks(one, Role.CELL)] == [
        ("cell of red", [[0, 0, 16, 16]]),
        ("cell of blue", [[48, 16, 64, 32]]),
    ]
    assert boxes(one, Role.OBJECT).tolist() == first[[0, 3]].tolist()
    assert boxes(one, Role.LOST).tolist() == first[[1, 2]].tolist()
    assert marks(one, Role.LOST)[0].texts == ("blue", "red")
    assert (len(boxes(one, Role.NEGATIVE)), len(boxes(two, Role.NEGATIVE)), len(boxes(two, *OBJECTS))) == (14, 16, 0)


def test_drawn_anchors_are_positive_and_negative_by_their_overlap(seen) -> None:
    batches, settings = seen("faster_rcnn", "rpn@1"), params.load().faster_rcnn
    for step in range(3):
        for picture in batches.view(step):
            truth, positive = boxes(picture, *OBJECTS), boxes(picture, Role.POSITIVE)
            negative, (height, width, _) = boxes(picture, Role.NEGATIVE), picture.pixels.shape
            assert len(positive) + len(negative) == settings.rpn.anchors
            assert ((negative >= 0) & (negative <= torch.tensor([width, height] * 2))).all()
            if not len(truth):
                assert not len(positive)
                continue
            overlaps = box_iou(positive, truth)
            best = torch.zeros(len(truth))
            for value, column in zip(*overlaps.max(dim=1), strict=True):
                best[column] = max(float(best[column]), float(value))
            assert len(boxes(picture, Role.LOST)) == int((best == 0).sum())
            assert len(boxes(picture, Role.WEAK)) == int(((best > 0) & (best < 0.7)).sum())
            assert (box_iou(negative, truth) < 0.3).all()
            for side, each in zip(settings.anchors.sides, marks(picture, Role.POSITIVE), strict=True):
                assert each.name == f"positive anchor, side {side:g}"
                assert np.allclose(np.sqrt((each.boxes[:, 2:] - each.boxes[:, :2]).prod(axis=1)), side, rtol=0.1)


@pytest.mark.parametrize(
    ("name", "stage"), [("fast_rcnn", "train"), ("faster_rcnn", "detector@2"), ("sppnet", "finetune")]
)
def test_drawn_regions_overlap_objects_of_their_class(name: str, stage: str, seen) -> None:
    batches, p = seen(name, stage), params.load()
    settings = {"fast_rcnn": p.fast_rcnn.train, "faster_rcnn": p.faster_rcnn.detector, "sppnet": p.sppnet.finetune}[
        name
    ]
    for step in range(3):
        pictures, batch = batches.view(step), batches.make(step)
        regions = [boxes(picture, Role.POSITIVE, Role.NEGATIVE) for picture in pictures]
        assert sum(map(len, regions)) == len(batch.labels)
        assert sum(len(boxes(picture, Role.POSITIVE)) for picture in pictures) == int((batch.labels > 0).sum())
        for picture in pictures:
            truth, (low, high) = boxes(picture, *OBJECTS), settings.background_iou
            # An object far away, for pictures without any.
            truth = torch.cat([truth, torch.tensor([[9e3, 9e3, 9e3 + 1, 9e3 + 1]])])
            best = box_iou(boxes(picture, Role.NEGATIVE), truth).amax(dim=1)
            assert ((best > low - 1e-6) & (best < high)).all()
            best, found = box_iou(boxes(picture, Role.POSITIVE), truth).max(dim=1)
            assert (best > settings.foreground_iou - 1e-6).all()
            if name != "sppnet":
                assert len(boxes(picture, Role.OBJECT)) == len(found.unique())
                assert len(boxes(picture, Role.LOST)) == len(truth) - 1 - len(found.unique())


def test_a_warped_region_shows_the_pixels_that_the_network_gets() -> None:
    """A box of 32 pixels without context becomes a square of 32 pixels as it is (test_warp.py), here mirrored too."""
    image = np.random.default_rng(0).integers(0, 256, (48, 60, 3), dtype=np.uint8)
    samples = RegionSamples(
        np.zeros(2, np.int64), as_boxes([[8, 8, 40, 40]] * 2), np.array([2, 0]), np.array([False, True])
    )
    batch = WarpBatch(samples, (torch.from_numpy(image).permute(2, 0, 1),), 32)
    one, two = warped_pictures(batch, Region(size=32, padding=0, mode="warp"), CLASSES)
    assert np.array_equal(one.pixels, image[8:40, 8:40])
    assert np.array_equal(two.pixels, image[8:40, 39:7:-1])
    assert [(each.title, [mark.name for mark in each.marks]) for each in (one, two)] == [
        ("blue", ["blue"]),
        ("", ["background"]),
    ]


def test_trainings_are_the_stages_that_list_the_parameters_of_training() -> None:
    listed = {
        each.address for each in declarations(params.load(ROOT / "params.yaml"), ROOT) if "training" in each.params
    }
    named = {f"systems/{name}/dvc.yaml:{stage}" for name, stage in TRAININGS}
    assert {address for address in listed if address.startswith("systems/")} == named


@pytest.mark.parametrize("script", [*TRAINED, "evaluate"])
def test_an_edit_of_a_view_runs_no_stage_again(script: str) -> None:
    files = closure(ROOT / "stages" / f"{script.replace('.', '/')}.py", ROOT)
    assert "batch_view.py" not in {file.name for file in files}
