"""YOLO's network: the published layers, the head on a backbone, the layout of its output."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from pipeline.core.errors import InputError
from pipeline.nets.backbones import ARCHITECTURES, MEAN, STD, architecture
from pipeline.nets.weights import Backbone
from pipeline.params import parse
from pipeline.systems.yolo.loss import cell_targets
from pipeline.systems.yolo.network import Yolo, YoloShape, boxes_and_scores, corners, split

SMALL = YoloShape("small", 96, 2, 3, ((16, 1), (8, 2)), (24,), False)


def parameters(layers: nn.Module) -> int:
    return sum(parameter.numel() for parameter in layers.parameters())


def test_the_papers_network_has_the_published_number_of_weights() -> None:
    head = ((1024, 1), (1024, 2), (1024, 1), (1024, 1))
    with torch.device("meta"):
        network = Yolo(YoloShape("extraction", 448, 2, 20, head, (4096,), False))
    convolutions = [layer for layer in [*network.conv, *network.head] if isinstance(layer, nn.Conv2d)]
    hidden, output = (layer for layer in network.fc if isinstance(layer, nn.Linear))
    assert len(convolutions) == 24
    assert network.grid == 7
    assert output.out_features == 1470
    counts = [parameters(network.conv) + parameters(network.head), parameters(hidden), parameters(output)]
    assert [round(count / 1e6, 2) for count in counts] == [60.16, 205.52, 6.02]
    assert parameters(network) == 271_703_550


def test_the_signal_keeps_its_size_through_all_24_layers() -> None:
    """By darknet's rule, uniform and with a third of He's variance, a third of the power is left at each layer."""
    torch.manual_seed(0)
    head = ((1024, 1), (1024, 2), (1024, 1), (1024, 1))
    network = Yolo(YoloShape("extraction", 448, 2, 20, head, (8,), False)).eval()
    seen: list[float] = []
    network.head.register_forward_hook(lambda module, inputs, output: seen.append(output.square().mean().sqrt().item()))
    images = torch.randint(256, (1, 3, 448, 448), dtype=torch.uint8)
    with torch.inference_mode():
        network(images)
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d):
                bound = (2 / layer.weight[0].numel()) ** 0.5
                layer.weight.uniform_(-bound, bound)
        network(images)
    ours, darknets = seen
    assert 0.5 < ours < 2
    assert darknets < 1e-5


def test_fast_yolo_has_nine_convolutions_and_a_linear_bottleneck() -> None:
    with torch.device("meta"):
        network = Yolo(YoloShape("darknet", 448, 2, 20, ((1024, 1), (1024, 1)), (256, 4096), False))
    assert network.grid == 7
    assert [type(layer).__name__ for layer in network.fc] == ["Linear", "Linear", "LeakyReLU", "Dropout", "Linear"]
    # 3x3 convolutions 3, 16, 32, ... 1024, 1024, 1024, and their biases, by hand.
    widths = [3, 16, 32, 64, 128, 256, 512, 1024, 1024, 1024]
    assert parameters(network.conv) + parameters(network.head) == sum(9 * a * b + b for a, b in pairwise(widths))
    assert parameters(network) == 45_089_374, "of cfg/yolo-tiny.cfg"


@pytest.mark.parametrize(("strides", "grid"), [((1, 1), 12), ((1, 2), 6), ((2, 2), 3)])
def test_the_grid_follows_from_side_and_strides(strides, grid) -> None:
    shape = YoloShape("small", 96, 1, 4, tuple((8, stride) for stride in strides), (16,), False)
    network = Yolo(shape).eval()
    assert network.grid == grid
    assert network(torch.zeros(2, 3, 96, 96, dtype=torch.uint8)).shape == (2, grid * grid * 9)


@pytest.mark.parametrize("network", sorted(ARCHITECTURES))
def test_the_least_side_leaves_a_cell(network: str) -> None:
    with torch.device("meta"):
        assert Yolo(YoloShape(network, 64, 2, 3, ((8, 2), (8, 2), (8, 2)), (16,), shared=False)).grid >= 1


def test_a_smaller_side_is_refused_in_a_sentence() -> None:
    with pytest.raises(InputError, match=r"yolo\.side is 32: input should be greater than or equal to 64"):
        parse({"yolo": {"side": 32}}, "params.yaml")


def test_pixels_are_normalised_inside() -> None:
    images = torch.randint(256, (2, 3, 96, 96), dtype=torch.uint8)
    network = Yolo(SMALL).eval()
    seen = []
    network.conv.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    assert torch.equal(network(images), network(images.float()))
    expected = (images / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    assert torch.allclose(seen[0], expected, atol=1e-5)


def test_a_backbone_is_copied_and_its_features_are_brought_to_size() -> None:
    torch.manual_seed(1)
    conv = architecture("small").conv()
    with torch.no_grad():
        conv[0].weight.mul_(30)
    backbone = {f"features.{name}": tensor for name, tensor in conv.state_dict().items()}
    network = Yolo(SMALL).eval()
    network.load_backbone(Backbone(backbone, 8.0))
    assert torch.equal(network.conv[0].weight, conv[0].weight)
    assert network.input_scale.item() == 0.125
    assert network.early_layers(2) == ("conv.0.", "conv.2.")
    with pytest.raises(InputError, match="do not fit small"):
        network.load_backbone(Backbone({}, 1.0))


def test_a_saved_network_gives_the_same_output(tmp_path) -> None:
    torch.manual_seed(2)
    network = Yolo(SMALL).eval()
    network.input_scale.fill_(0.5)
    network.save(tmp_path / "n.safetensors")
    loaded = Yolo.load(tmp_path / "n.safetensors", "systems/yolo/dvc.yaml:train")
    images = torch.randint(256, (3, 3, 96, 96), dtype=torch.uint8)
    assert loaded.shape == SMALL
    assert torch.equal(network(images), loaded(images))
    (tmp_path / "n.safetensors").write_bytes(b"no")
    with pytest.raises(InputError, match="not a safetensors file"):
        Yolo.load(tmp_path / "n.safetensors", "systems/yolo/dvc.yaml:train")


def test_another_networks_file_is_refused(tmp_path) -> None:
    from pipeline.nets import weights

    weights.save(tmp_path / "n.safetensors", {"a": torch.zeros(1)}, {"shape": '{"network": "small"}'})
    with pytest.raises(InputError, match=r"no YOLO network can be read .* systems/yolo/dvc.yaml:train writes it"):
        Yolo.load(tmp_path / "n.safetensors", "systems/yolo/dvc.yaml:train")


def test_classes_of_all_cells_come_first_then_confidences_then_boxes() -> None:
    # 2 x 2 cells, 2 boxes, 3 classes: 12 class scores, 8 confidences, 32 numbers of boxes.
    parts = split(torch.arange(52.0)[None], 2, 2, 3)
    assert parts.classes[0, 1].tolist() == [3, 4, 5]
    assert parts.confidences[0].tolist() == [[12, 13], [14, 15], [16, 17], [18, 19]]
    assert parts.boxes[0, 3, 1].tolist() == [48, 49, 50, 51]


def test_a_box_is_its_cell_plus_offset_and_the_square_of_its_root() -> None:
    boxes = torch.zeros(1, 4, 1, 4)
    boxes[0, 2, 0] = torch.tensor([0.5, 0.25, 0.5, -0.6])  # row 1, column 0; a root may be negative
    x1, y1, x2, y2 = corners(boxes, 2)[0, 2, 0].tolist()
    assert (round((x1 + x2) / 2, 6), round((y1 + y2) / 2, 6)) == (0.25, 0.625)
    assert (round(x2 - x1, 6), round(y2 - y1, 6)) == (0.25, 0.36)


def test_targets_decode_to_the_boxes_they_came_from() -> None:
    generator = torch.Generator().manual_seed(2)
    low = torch.rand(5, 2, generator=generator) * 60
    boxes = torch.cat([low, low + 4 + torch.rand(5, 2, generator=generator) * 30], dim=1)
    targets = cell_targets([boxes], [torch.arange(1, 6)], 100, 7)
    flat_boxes = torch.zeros(1, 49, 2, 4)
    flat_boxes[0, targets.cells, 0] = torch.cat([targets.boxes[:, :2], targets.boxes[:, 2:].sqrt()], dim=1)
    found = corners(flat_boxes, 7)[0, targets.cells, 0] * 100
    assert torch.allclose(found, boxes[targets.classes], atol=1e-4)


def test_scores_are_confidence_times_class_score() -> None:
    flat = torch.randn(2, 9 * (4 + 10))
    parts = split(flat, 3, 2, 4)
    boxes, scores = boxes_and_scores(parts, 3, 96)
    assert boxes.shape == (2, 18, 4)
    assert scores.shape == (2, 18, 4)
    for cell, box, label in ((0, 0, 0), (8, 1, 3), (4, 0, 2)):
        expected = parts.confidences[1, cell, box] * parts.classes[1, cell, label]
        assert scores[1, 2 * cell + box, label] == expected
        assert torch.equal(boxes[1, 2 * cell + box], corners(parts.boxes, 3)[1, cell, box] * 96)
