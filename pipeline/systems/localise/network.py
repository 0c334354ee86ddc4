"""One trunk and two heads on the whole image: what object it is of, and where that is.

The classifier is VGG's: pooled map, fc6, fc7, a score for each class (Simonyan and Zisserman, 2015, appendix A). The
box head stands beside it, behind the last pooling as in OverFeat (section 4.1), or behind fc7 as in DeepPose (section
3.1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn

from pipeline.nets.backbones import architecture, normalise
from pipeline.nets.heads import RegionHead
from pipeline.nets.weights import Backbone, load_conv
from pipeline.pretraining import SpatialPyramid
from pipeline.systems.localise.params import Localise as LocaliseParams
from pipeline.systems.localise.targets import COLUMNS, boxes_of

BOX_HEAD, CLASSIFIER = "box.", ("fc6.", "fc7.", "output.")


@dataclass(frozen=True)
class LocaliseShape:
    """All that is needed to build the network.

    Attributes:
        network: name of the backbone.
        classes: there is no background.
        side: of the square input, in pixels.
        pyramid: sides of the grids that the map is pooled to.
        fc_width: of fc6 and fc7.
        attach: ``conv``: the box head reads the pooled map; ``fc``: fc7.
        box_widths: of its hidden layers.
        per_class: whether it gives points for each class, or for all.
        points: of an object.
    """

    network: str
    classes: int
    side: int
    pyramid: tuple[int, ...]
    fc_width: int
    attach: str
    box_widths: tuple[int, ...]
    per_class: bool
    points: int

    @classmethod
    def from_params(cls, section: LocaliseParams, classes: int) -> "LocaliseShape":
        """Return the shape that the parameters describe."""
        p = section
        return cls(p.backbone, classes, p.side, p.pyramid, p.fc_width, p.attach, p.box_widths, p.per_class, p.points)


class Localiser(RegionHead):
    """Classifier and box head of a whole image.

    The box head starts from the middle half of the image, whatever it shows.

    Args:
        shape: of the network.
        dropout: in fc6 and fc7 while they are trained.
    """

    SHAPE = LocaliseShape
    TITLE = "localiser"
    shape: LocaliseShape

    def __init__(self, shape: LocaliseShape, dropout: float = 0.0) -> None:
        net = architecture(shape.network)
        inputs = net.channels * sum(level**2 for level in shape.pyramid)
        super().__init__(shape, inputs, shape.fc_width, shape.classes, dropout)
        self.conv = net.conv()
        self.pool = SpatialPyramid(shape.pyramid)
        values = 2 * shape.points
        widths = [self.width_of("pool5" if shape.attach == "conv" else "fc7"), *shape.box_widths, self.boxes * values]
        self.box_scale: torch.Tensor
        self.register_buffer("box_scale", torch.tensor(1.0))
        self.box = nn.ModuleList(nn.Linear(*sizes) for sizes in pairwise(widths))
        for layer in self.box:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.box[-1].weight, std=0.01)  # type: ignore[arg-type]
        with torch.no_grad():
            middle = torch.tensor([0.25, 0.25, 0.75, 0.75])[list(COLUMNS[shape.points])]
            self.box[-1].bias.copy_(middle.repeat(self.boxes))  # type: ignore[operator]

    @property
    def boxes(self) -> int:
        """Return how many boxes an image gets: one, or one for each class."""
        return self.shape.classes if self.shape.per_class else 1

    def forward(
        self, images: torch.Tensor, *, classify: bool = True, regress: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits and points of squares.

        Args:
            images: ``(N, 3, side, side)`` RGB, 0 to 255, uint8 or float.
            classify: without it there are no logits.
            regress: without it there are no points.

        Returns:
            Logits ``(N, classes)``, and points ``(N, boxes, 2 * K)`` in sides of the square; float32.
        """
        return self.heads(self.pooled(images), classify=classify, regress=regress)

    def pooled(self, images: torch.Tensor) -> torch.Tensor:
        """Return what both heads see of squares ``(N, 3, side, side)``: the pooled map ``(N, channels * bins)``."""
        return self.pool(self.conv(normalise(images)))

    def heads(
        self, pooled: torch.Tensor, *, classify: bool = True, regress: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits and points of ``pooled`` maps; see `forward`."""
        logits = pooled.new_zeros(len(pooled), 0)
        points = pooled.new_zeros(len(pooled), 0, 2 * self.shape.points)
        if classify:
            logits = self.classify(self.head_taps(pooled, ("fc7",))["fc7"])
        if regress:
            *hidden, last = self.box
            values = self._before_box(pooled) * self.box_scale
            for layer in hidden:
                values = layer(values).relu()
            points = last(values).unflatten(1, (self.boxes, -1))
        return logits.float(), points.float()

    def decode(self, points: torch.Tensor) -> torch.Tensor:
        """Return the boxes ``(..., 4)`` of ``points`` (..., 2 * K), in pixels of the square, not clipped."""
        return boxes_of(points) * self.shape.side

    @torch.no_grad()
    def scale_new_layers(self, images: torch.Tensor, new: Sequence[str]) -> None:
        """Let the box head, and fc6 where it is ``new``, see values whose mean square over ``images`` is 1.

        Maxima of many cells are several times as large as the cells, by whose scale `ShapedNetwork.scale_input` goes;
        at thousands of inputs the first steps then kill the rectifiers. An fc6 that came with the backbone sees the map
        that it knows.

        Args:
            images: as for `forward`.
            new: the layers that are about to learn from the start.
        """
        pooled = self.pooled(images)
        if "fc6" in new:
            self.input_scale.copy_(_to_unit(pooled))
        self.box_scale.copy_(_to_unit(self._before_box(pooled)))

    def _before_box(self, pooled: torch.Tensor) -> torch.Tensor:
        return pooled if self.shape.attach == "conv" else self.head_taps(pooled, ("fc7",))["fc7"]

    def load_backbone(self, backbone: Backbone) -> list[str]:
        """Copy the convolutions, and fc6 and fc7 where the backbone has them for this pooling; return what stays new.

        They are those of the classifier of object crops, or published ones: the localiser starts as a classifier.

        Raises:
            InputError: the convolution weights are missing or have other shapes.
        """
        load_conv(self.conv, self.shape.network, backbone.weights)
        own = {"fc6": "pyramid.fc6", "fc7": "pyramid.fc7"} if backbone.pyramid == self.shape.pyramid else {}
        return [*self.load_head(backbone, own or architecture(self.shape.network).fc_names), "box"]


def _to_unit(values: torch.Tensor) -> torch.Tensor:
    """Return the factor that makes the mean square of ``values`` 1."""
    return 1 / values.square().mean().sqrt().clamp(min=1e-6)
