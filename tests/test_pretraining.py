"""Pre-training: crops, the pyramid classifier, its training, and the scale of its activations."""

import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from pipeline.core.boxes import as_boxes, iou
from pipeline.core.sections import Pretrain
from pipeline.data.images import ImageCache, read_image
from pipeline.data.index import ImageRecord
from pipeline.nets.backbones import architecture, normalise
from pipeline.nets.weights import Backbone, load_conv
from pipeline.pretraining import CropBatches, PyramidNetwork, SpatialPyramid, accuracy, conv5_rms, pretrain
from pipeline.systems.rcnn.network import RegionNetwork, RegionShape

COLOURS = {1: (230, 30, 30), 2: (30, 30, 230)}
SIDE = 96


@dataclass(frozen=True)
class Squares:
    """The images and their pixels."""

    images: list[ImageRecord]
    cache: ImageCache


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Squares]:
    """Return a function from the number of objects of each image to images; classes alternate."""

    def make(*counts: int, seed: int = 0) -> Squares:
        folder = tmp_path_factory.mktemp("squares")
        rng = np.random.default_rng(seed)
        images, files = [], []
        label = 0
        for number, count in enumerate(counts):
            pixels = rng.integers(100, 140, (SIDE, SIDE, 3), dtype=np.uint8)
            boxes, labels = [], []
            for place in rng.permutation(4)[:count]:
                x, y = 48 * (place % 2) + rng.integers(4, 16), 48 * (place // 2) + rng.integers(4, 16)
                side = int(rng.integers(20, 28))
                label = label % 2 + 1
                pixels[y : y + side, x : x + side] = COLOURS[label]
                boxes.append((x, y, x + side, y + side))
                labels.append(label)
            files.append(folder / f"{number}.png")
            Image.fromarray(pixels).save(files[-1])
            record = ImageRecord(
                number + 1, files[-1].name, SIDE, SIDE, "", as_boxes(boxes), np.array(labels, np.int64)
            )
            images.append(record)
        return Squares(images, ImageCache(files, 10))

    return make


@pytest.fixture(scope="session")
def settings() -> Callable[..., Pretrain]:
    """Return a function that makes the settings with some of them changed."""

    def make(steps: int = 40, **changed: object) -> Pretrain:
        values = {
            "sizes": (32, 24),
            "size_choice": "alternate",
            "compare_single_size": False,
            "pyramid": (2, 1),
            "fc_width": 32,
            "batch": 16,
            "background": 0.25,
            "flip": False,
            "schedule": {
                "steps": steps,
                "lr": 0.01,
                "decay_at": (),
                "gamma": 0.1,
                "warmup": 5,
                "momentum": 0.9,
                "weight_decay": 0.0005,
                "checkpoint_every": 20,
            },
        }
        return Pretrain.model_validate({**values, **changed})

    return make


def drawn(batch) -> list[tuple]:
    samples = batch.samples
    return list(zip(samples.images.tolist(), samples.labels.tolist(), map(tuple, samples.boxes.tolist()), strict=True))


def test_crowds_are_no_objects(squares: Callable, settings: Callable) -> None:
    made = squares(2)
    (record,) = made.images
    crowd = np.array([[0, 0, SIDE, SIDE]], np.float32)
    crowded = replace(
        record,
        boxes=np.concatenate([record.boxes, crowd]),
        labels=np.array([*record.labels, 1]),
        ignore=np.array([False, False, True]),
        crowd=np.array([False, False, True]),
    )
    batches = CropBatches([crowded], made.cache, settings(background=0), seed=1, jitter=0)
    seen = {box for step in range(4) for _, _, box in drawn(batches(step))}
    assert seen == set(map(tuple, record.boxes.tolist()))


def test_whole_passes_alternate_between_the_sizes(squares: Callable, settings: Callable) -> None:
    """18 objects at 12 a batch: two steps a pass, whatever the number of sizes."""
    made = squares(4, 4, 4, 3, 3)
    crops = CropBatches(made.images, made.cache, settings(sizes=(32, 24, 40)), seed=1)
    assert crops.steps_per_pass == 2
    assert [crops.size(step) for step in range(8)] == [32, 32, 24, 24, 40, 40, 32, 32]
    assert [crops(step).size for step in (0, 2, 4)] == [32, 24, 40]


def test_what_goes_to_processes_that_make_batches_holds_no_pixels(squares: Callable, settings: Callable) -> None:
    made = squares(4, 4)
    crops = CropBatches(made.images, made.cache, settings(), seed=1)
    crops(0)
    assert len(pickle.dumps(crops)) < 20_000 < 2 * SIDE * SIDE * 3


def test_a_pass_shows_every_object(squares: Callable, settings: Callable) -> None:
    made = squares(4, 4, 4, 4, 4, 0, 4)
    objects = {
        (i, tuple(box), label)
        for i, r in enumerate(made.images)
        for box, label in zip(r.boxes.tolist(), r.labels.tolist(), strict=True)
    }
    crops = CropBatches(made.images, made.cache, settings(), seed=1, jitter=0.0)
    assert crops.steps_per_pass == 2
    orders = []
    for number in range(3):
        seen = [
            (i, box, label) for step in (2 * number, 2 * number + 1) for i, label, box in drawn(crops(step)) if label
        ]
        assert len(seen) == 24
        assert set(seen) == objects
        orders.append(seen)
    assert orders[0] != orders[1]


def test_a_batch_is_filled_where_objects_are_few(squares: Callable, settings: Callable) -> None:
    made = squares(2, 1)
    batch = CropBatches(made.images, made.cache, settings(), seed=1)(0)
    labels = batch.samples.labels
    assert (len(labels), (labels > 0).sum()) == (16, 12)


def test_the_jitter_moves_each_corner_by_a_tenth_of_the_side_at_most(squares: Callable, settings: Callable) -> None:
    made = squares(1, 1)
    crops = CropBatches(made.images, made.cache, settings(), seed=1)
    moves = []
    for step in range(30):
        for image, label, box in drawn(crops(step)):
            truth = made.images[image].boxes[0]
            if label:
                assert label == made.images[image].labels[0]
                moves.append((np.array(box) - truth) / (truth[2] - truth[0]))
    assert 0.095 < np.abs(moves).max() <= 0.1 + 1e-6
    assert np.abs(np.mean(moves, axis=0)).max() < 0.02


def test_background_shares_little_with_objects_and_has_their_sizes(squares: Callable, settings: Callable) -> None:
    made = squares(1, 2, 0)
    crops = CropBatches(made.images, made.cache, settings(), seed=1)
    sides = set()
    for step in range(40):
        batch = drawn(crops(step))
        objects = {round(box[2] - box[0], 2) for _, label, box in batch if label}
        for image, label, box in batch:
            if label == 0:
                assert iou(box, made.images[image].boxes).max(initial=0) < 0.3
                assert 0 <= box[0] < box[2] <= 96
                assert 0 <= box[1] < box[3] <= 96
                assert round(box[2] - box[0], 2) in objects or any(abs(box[2] - box[0] - o) < 0.02 for o in objects)
                sides.add(image)
    assert sides == {0, 1, 2}


def test_a_share_of_background_of_none_is_none(squares: Callable, settings: Callable) -> None:
    made = squares(2, 2)
    assert (CropBatches(made.images, made.cache, settings(background=0), seed=1)(0).samples.labels > 0).all()


def test_without_any_object_all_is_background(squares: Callable, settings: Callable) -> None:
    made = squares(0, 0)
    crops = CropBatches(made.images, made.cache, settings(), seed=1)
    batch = crops(3)
    assert batch.samples.labels.tolist() == [0] * 16
    assert batch.samples.boxes[:, 2] - batch.samples.boxes[:, 0] == pytest.approx(24)


def test_a_batch_depends_on_seed_and_step_alone(squares: Callable, settings: Callable) -> None:
    made = squares(3, 2)
    one, other = (CropBatches(made.images, made.cache, settings(), seed=1) for _ in range(2))
    first = drawn(one(7))
    other(2)
    assert drawn(other(7)) == first
    assert drawn(one(8)) != first
    assert drawn(CropBatches(made.images, made.cache, settings(), seed=2)(7)) != first


@pytest.mark.parametrize(("flip", "share"), [(True, 0.5), (False, 0.0)])
def test_crops_are_mirrored_where_that_is_wanted(
    squares: Callable, settings: Callable, flip: bool, share: float
) -> None:
    made = squares(2, 2)
    crops = CropBatches(made.images, made.cache, settings(flip=flip), seed=1)
    assert np.mean([crops(step).samples.mirrored.mean() for step in range(30)]) == pytest.approx(share, abs=0.08)


PAPER = (6, 3, 2, 1)


def pooled_slowly(maps: np.ndarray, levels: tuple[int, ...]) -> np.ndarray:
    """Return the pyramid by SPP-net's appendix A: bin i of n spans floor(i w / n) to ceil((i + 1) w / n)."""
    batch, _, height, width = maps.shape
    rows = []
    for sample in range(batch):
        values: list[float] = []
        for n in levels:
            for channel in maps[sample]:
                for i in range(n):
                    top, bottom = math.floor(i * height / n), math.ceil((i + 1) * height / n)
                    for j in range(n):
                        left, right = math.floor(j * width / n), math.ceil((j + 1) * width / n)
                        values.append(channel[top:bottom, left:right].max())
        rows.append(values)
    return np.array(rows, maps.dtype)


@pytest.mark.parametrize(("height", "width"), [(13, 13), (10, 10), (10, 7), (6, 25), (3, 2), (1, 1)])
def test_bins_are_the_papers(height: int, width: int) -> None:
    maps = np.random.default_rng(0).normal(size=(2, 3, height, width)).astype(np.float32)
    found = SpatialPyramid(PAPER)(torch.from_numpy(maps)).numpy()
    np.testing.assert_array_equal(found, pooled_slowly(maps, PAPER))


def test_the_papers_map_has_fifty_bins() -> None:
    assert SpatialPyramid(PAPER)(torch.zeros(1, 256, 13, 13)).shape == (1, 256 * 50)


def test_ten_cells_give_six_bins() -> None:
    """The paper's rule of fixed windows, window ceil(a/n) and stride floor(a/n), gives 9 outputs here."""
    cells = torch.arange(10.0).expand(1, 1, 10, 10)
    assert len(range(0, 10 - math.ceil(10 / 6) + 1, 10 // 6)) == 9
    bins = SpatialPyramid((6,))(cells).reshape(6, 6)
    assert bins[0].tolist() == [math.ceil((i + 1) * 10 / 6) - 1 for i in range(6)]


@torch.no_grad()
def test_batch_normalisation_learns_here_and_is_frozen_in_the_backbone() -> None:
    torch.manual_seed(0)
    images = torch.randn(4, 3, 64, 64) * 5
    network = PyramidNetwork(architecture("resnet18"), (1,), width=8, outputs=4)
    network(images)
    assert network.features.bn1.running_var.mean() > 1.5
    conv = architecture("resnet18").conv()
    load_conv(conv, "resnet18", network.state_dict())
    assert torch.equal(conv.train()(images), network.eval().features(images))


@torch.inference_mode()
def test_one_set_of_weights_serves_every_input_size() -> None:
    torch.manual_seed(0)
    network = PyramidNetwork(architecture("small"), PAPER, width=8, outputs=4).eval()
    assert network.pyramid["fc6"].in_features == 96 * 50
    for side in (48, 36, 61):
        images = torch.randn(2, 3, side, side)
        vectors = network.pyramid["pool"](network.features(images))
        assert vectors.shape == (2, 96 * 50)
        fc6 = network.pyramid["fc6"](vectors).clamp(min=0)
        expected = network.output(network.pyramid["fc7"](fc6).clamp(min=0))
        torch.testing.assert_close(network(images), expected)


def test_new_convolutions_keep_the_size_of_their_signal() -> None:
    """He's initialisation: the second moment after each rectifier stays near that of the input's."""
    torch.manual_seed(0)
    network = PyramidNetwork(architecture("small"), (1,), width=8, outputs=4)
    maps = network.features(torch.randn(4, 3, 64, 64))
    assert 0.2 < maps.pow(2).mean().item() < 20


CPU = torch.device("cpu")


def trained(made, settings, scratch: Path) -> PyramidNetwork:
    torch.manual_seed(0)
    network = PyramidNetwork(architecture("small"), settings.pyramid, settings.fc_width, 3)
    crops = CropBatches(made.images, made.cache, settings, seed=1)
    pretrain(network, crops, settings, scratch=scratch, seed=1, device=CPU, workers=0)
    return network


def test_coloured_squares_are_told_apart_at_every_size(squares: Callable, settings: Callable, tmp_path: Path) -> None:
    network = trained(squares(4, 4, 4, 2), settings(steps=40), tmp_path)
    unseen = squares(3, 0, 3, seed=5)
    for size in (32, 24, 40):
        assert accuracy(network, unseen.images, unseen.cache, size, CPU) == 1.0


def test_the_same_seed_gives_the_same_network(squares: Callable, settings: Callable, tmp_path: Path) -> None:
    made = squares(4, 4)
    one, other = (trained(made, settings(steps=4), tmp_path / name) for name in "ab")
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


class Always(nn.Module):
    """Answers the same class for every crop, and notes the crops' shapes."""

    def __init__(self, label: int) -> None:
        super().__init__()
        self._label = label
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, regions: torch.Tensor) -> torch.Tensor:
        self.shapes.append(tuple(regions.shape))
        return nn.functional.one_hot(torch.full((len(regions),), self._label), 3).float()


def test_accuracy_is_the_share_of_all_objects(squares: Callable) -> None:
    made = squares(3, 0, 1, 1)
    labels = np.concatenate([image.labels for image in made.images])
    assert labels.tolist() == [1, 2, 1, 2, 1]
    network = Always(1).train()
    assert accuracy(network, made.images, made.cache, 24, CPU) == pytest.approx(3 / 5)
    assert network.shapes == [(3, 3, 24, 24), (1, 3, 24, 24), (1, 3, 24, 24)]
    assert not network.training
    assert accuracy(Always(2), made.images, made.cache, 24, CPU) == pytest.approx(2 / 5)
    assert accuracy(Always(0), made.images, made.cache, 24, CPU) == 0


def test_without_any_object_there_is_no_accuracy(squares: Callable) -> None:
    made = squares(0, 0)
    assert accuracy(Always(1), made.images, made.cache, 24, CPU) is None
    assert accuracy(Always(1), [], made.cache, 24, CPU) is None


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(5)]
    for i, path in enumerate(paths):
        pixels = np.random.default_rng(i).integers(0, 255, (20, 30 + i, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return paths


@pytest.mark.parametrize(("most", "used"), [(16, [0, 1, 2, 3, 4]), (3, [0, 2, 4])])
def test_the_root_mean_square_over_images_spread_evenly(files, most, used):
    found = conv5_rms(nn.Identity(), files, torch.device("cpu"), most)
    pixels = [normalise(torch.from_numpy(read_image(files[i])).permute(2, 0, 1)).flatten() for i in used]
    assert found == pytest.approx(torch.cat(pixels).pow(2).mean().sqrt().item(), rel=1e-5)


def test_a_dead_network_and_no_image_give_one(files):
    dead = nn.Conv2d(3, 4, 1)
    nn.init.zeros_(dead.weight)
    nn.init.zeros_(dead.bias)
    assert conv5_rms(dead, files, torch.device("cpu")) == 1
    assert conv5_rms(dead, [], torch.device("cpu")) == 1


@pytest.mark.parametrize("size", [(7, 300), (3, 3), (3000, 40)])
def test_any_image_has_a_loudness(tmp_path, size):
    Image.new("RGB", size, (200, 30, 10)).save(tmp_path / "odd.png")
    conv = architecture("squeezenet1_0").conv()
    assert np.isfinite(conv5_rms(conv, [tmp_path / "odd.png"], torch.device("cpu")))


def test_a_large_image_is_reduced_before_it_is_measured(tmp_path):
    seen = []

    class Spy(nn.Sequential):
        def forward(self, images):
            seen.append(tuple(images.shape))
            return images

    Image.new("RGB", (4000, 3000), "white").save(tmp_path / "large.png")
    white = normalise(torch.full((3, 1, 1), 255, dtype=torch.uint8)).pow(2).mean().sqrt().item()
    assert conv5_rms(Spy(), [tmp_path / "large.png"], torch.device("cpu")) == pytest.approx(white, rel=1e-5)
    assert seen == [(1, 3, 750, 1000)]


def test_new_layers_do_not_see_how_loud_the_backbone_is():
    backbone = {f"features.{name}": tensor for name, tensor in architecture("small").conv().state_dict().items()}
    loud = {name: tensor * 64 if name.startswith("features.15.") else tensor for name, tensor in backbone.items()}
    regions = torch.randn(2, 3, 32, 32)
    outputs = []
    for weights, rms in ((backbone, 1.0), (loud, 64.0)):
        torch.manual_seed(0)
        network = RegionNetwork(RegionShape("small", 32, 16, 3)).eval()
        assert network.load_backbone(Backbone(weights, rms)) == ["output", "fc6", "fc7"]
        outputs.append(network.taps(regions, ("pool5", "fc7")))
    torch.testing.assert_close(outputs[1]["fc7"], outputs[0]["fc7"])
    torch.testing.assert_close(outputs[1]["pool5"], outputs[0]["pool5"] * 64)
