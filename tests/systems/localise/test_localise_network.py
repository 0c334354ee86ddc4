"""Where the heads begin, what comes with a backbone, and which box a guess gets."""

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.detector import Description, Picture
from pipeline.nets.backbones import architecture, normalise
from pipeline.nets.weights import Backbone
from pipeline.pretraining import PyramidNetwork
from pipeline.systems.localise.detector import LocaliseDetector
from pipeline.systems.localise.network import Localiser, LocaliseShape
from pipeline.systems.localise.params import LocaliseDetection

CPU = torch.device("cpu")
CLASSES = ("a", "b", "c")


def network_of(attach: str = "conv", *, per_class: bool = False, points: int = 2, pyramid=(3, 1), width: int = 8):
    torch.manual_seed(3)
    shape = LocaliseShape("small", 3, 96, pyramid, width, attach, (8,), per_class, points)
    return Localiser(shape, 0.5).eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (2, 3, 96, 96), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


@pytest.mark.parametrize("per_class", [False, True])
@pytest.mark.parametrize("points", [2, 4])
@pytest.mark.parametrize("attach", ["conv", "fc"])
def test_an_image_has_logits_and_points(attach: str, points: int, per_class: bool, images: torch.Tensor) -> None:
    network = network_of(attach, per_class=per_class, points=points)
    logits, found = network(images)
    assert logits.shape == (2, 3)
    assert found.shape == (2, 3 if per_class else 1, 2 * points)
    assert network.decode(found).shape == (*found.shape[:2], 4)
    assert network(images, classify=False)[0].shape == (2, 0)
    assert network(images, regress=False)[1].shape == (2, 0, 2 * points)
    # A new box head points at the middle half of the image.
    assert (network.decode(found) - torch.tensor([24.0, 24, 72, 72])).abs().max() < 24


@pytest.mark.parametrize(("attach", "layers"), [("conv", {"box", "conv"}), ("fc", {"box", "fc6", "fc7", "conv"})])
def test_the_box_head_stands_behind_the_map_or_behind_fc7(attach: str, layers: set[str], images: torch.Tensor) -> None:
    network = network_of(attach)
    network(images)[1].sum().backward()
    assert {name.split(".")[0] for name, each in network.named_parameters() if each.grad is not None} == layers


def test_the_pre_trained_classifier_of_crops_comes_with_its_pyramid(images: torch.Tensor) -> None:
    """Its logits are those of the classifier whose layers it has, the output layer aside."""
    crops = PyramidNetwork(architecture("small"), (3, 1), 8, 4).eval()
    weights = {name: each for name, each in crops.state_dict().items() if name.startswith("pyramid.fc")}
    weights |= {f"features.{name}": each for name, each in crops.features.state_dict().items()}
    backbone = Backbone(weights, conv5_rms=0.25, pyramid=(3, 1), network="small")
    network = network_of()
    assert network.load_backbone(backbone) == ["output", "box"]
    crops.output = nn.Linear(8, 3)
    crops.output.load_state_dict(network.output.state_dict())
    assert torch.allclose(network(images)[0], crops(normalise(images)), atol=1e-5)
    assert network.input_scale.item() == 1
    other = network_of(pyramid=(2, 1))
    assert other.load_backbone(backbone) == ["output", "fc6", "fc7", "box"]


@pytest.mark.parametrize("new", [("box",), ("output", "fc6", "fc7", "box")])
@pytest.mark.parametrize("attach", ["conv", "fc"])
def test_new_layers_see_values_with_a_mean_square_of_one(attach: str, new: tuple, images: torch.Tensor) -> None:
    network, seen = network_of(attach), {}
    network.scale_new_layers(images, new)
    for name, layer in (("fc6", network.fc6), ("box", network.box[0])):
        layer.register_forward_pre_hook(lambda _, given, name=name: seen.setdefault(name, given[0]))
    network(images)
    assert seen["box"].square().mean().item() == pytest.approx(1, rel=1e-3)
    if "fc6" in new:
        assert seen["fc6"].square().mean().item() == pytest.approx(1, rel=1e-3)
    else:
        assert torch.equal(seen["fc6"], network.pooled(images))


class Answers(nn.Module):
    """Gives the same logits and points, whatever it sees."""

    def __init__(self, logits: torch.Tensor, points: torch.Tensor) -> None:
        super().__init__()
        self.shape = network_of().shape
        self._answer = logits, points

    def pooled(self, images: torch.Tensor) -> torch.Tensor:
        return images

    def heads(self, pooled: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self._answer

    def decode(self, points: torch.Tensor) -> torch.Tensor:
        return points * self.shape.side


def guesses_of(points: torch.Tensor, guesses: int = 5, logits=(0.0, 2.0, 1.0)):
    description = Description.of("localise", CLASSES, detect=LocaliseDetection(guesses=guesses))
    detector = LocaliseDetector(description, Answers(torch.tensor([logits]), points), CPU)  # type: ignore[arg-type]
    (found,) = detector.candidates([Picture(np.zeros((50, 200, 3), np.uint8))])
    return detector.finish(found)


def test_a_guess_has_the_box_of_its_class() -> None:
    """The image is 200 wide and 50 high; each class has another left edge."""
    points = torch.tensor([[[each / 10, 0.2, 0.8, 0.6] for each in (1, 2, 3)]])
    found = guesses_of(points)
    assert found.labels.tolist() == [2, 3, 1]
    assert found.boxes[:, 0].tolist() == pytest.approx([40, 60, 20])
    assert found.boxes[0].tolist() == pytest.approx([40, 10, 160, 30])
    assert found.scores.tolist() == pytest.approx((np.exp([2, 1, 0]) / np.exp([0, 1, 2]).sum()).tolist())
    assert guesses_of(points, guesses=1).labels.tolist() == [2]


def test_all_guesses_share_the_box_where_there_is_one() -> None:
    found = guesses_of(torch.tensor([[[0.1, 0.2, 0.8, 0.6]]]))
    assert found.labels.tolist() == [2, 3, 1]
    assert found.boxes.tolist() == [pytest.approx([20, 10, 160, 30])] * 3


def test_a_box_ends_at_the_image() -> None:
    assert guesses_of(torch.tensor([[[-0.5, -0.5, 1.5, 1.5]]])).boxes[0].tolist() == [0, 0, 200, 50]


def test_equal_scores_keep_the_order_of_the_classes() -> None:
    assert guesses_of(torch.zeros(1, 1, 4), logits=(1.0, 1.0, 1.0)).labels.tolist() == [1, 2, 3]
