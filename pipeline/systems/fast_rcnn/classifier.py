"""SVMs in place of the softmax layer (Fast R-CNN, section 5.4; ``tools/train_svms.py``).

They are trained by R-CNN's code on fc7 of the regions of a split, which `Fc7Features` computes image by image.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes
from pipeline.data.images import read_image
from pipeline.data.index import ImageRecord
from pipeline.linear.model import LinearModel
from pipeline.systems.fast_rcnn.detector import image_maps, region_cells
from pipeline.systems.fast_rcnn.network import FastRcnn


class Fc7Features:
    """The regions of each image, the ground truth first, and their fc7.

    A `pipeline.features.regions.RegionFeatures`; each pass over the images runs the network again, which is cheap since
    an image's regions share one map.

    Args:
        name: of the split, for messages.
        network: on its device, in inference mode.
        records: the images, files below ``root``.
        proposals: of each image, ``(N, 4)`` float32.
        root: of the images.
        device: of the network.
    """

    def __init__(
        self,
        name: str,
        network: FastRcnn,
        records: Sequence[ImageRecord],
        proposals: Sequence[Boxes],
        root: Path,
        device: torch.device,
    ) -> None:
        self.path = Path(name)
        self._network, self._records, self._root, self._device = network, records, root, device
        self._boxes = [np.concatenate([r.boxes, boxes]) for r, boxes in zip(records, proposals, strict=True)]
        self.offsets = np.concatenate([[0], np.cumsum([len(boxes) for boxes in self._boxes])]).astype(np.int64)
        self.image_ids = np.array([record.id for record in records], np.int64)

    def __len__(self) -> int:
        return len(self._records)

    def table(self, name: str) -> NDArray:
        """Return ``boxes`` (rows, 4) float32 or ``is_ground_truth`` (rows,) bool of all images."""
        if name == "boxes":
            return np.concatenate([np.zeros((0, 4), np.float32), *self._boxes])
        marks = [
            np.arange(len(boxes)) < len(record.boxes) for boxes, record in zip(self._boxes, self._records, strict=True)
        ]
        return np.concatenate([np.zeros(0, np.bool_), *marks])

    def images(self, layer: str) -> Iterator[tuple[int, NDArray]]:
        """Yield each image's position and the features of its regions, in order."""
        return ((position, self.image(position, layer)) for position in range(len(self)))

    def image(self, position: int, layer: str) -> NDArray:
        """Return the features of all regions of one image, ``(N, width)`` float32."""
        return self.rows(position, layer, np.arange(len(self._boxes[position])))

    @torch.inference_mode()
    def rows(self, position: int, layer: str, which: NDArray[np.int64]) -> NDArray:
        """Return the features of some regions of one image, ``(len(which), width)`` float32; no other is computed.

        Raises:
            ValueError: ``layer`` is not fc7.
        """
        if layer != "fc7":
            raise ValueError(f"the layer {layer} is not offered, only fc7")
        boxes = self._boxes[position][which]
        if not len(boxes):
            return np.zeros((0, self._network.scores.in_features), np.float32)
        image = read_image(self._root / self._records[position].file)
        maps, factors = image_maps(self._network, image, self._device)
        size = image.shape[1], image.shape[0]
        cells = torch.from_numpy(region_cells(self._network, boxes, factors, size)).to(self._device)
        return self._network.features(self._network.pool(maps, cells)).cpu().numpy()


def with_svms(network: FastRcnn, model: LinearModel) -> FastRcnn:
    """Return a copy of ``network`` whose scores are those of the SVMs ``model`` on fc7, one output a class.

    The background's score is always 0. The scale of the features goes into the weights.
    """
    copy = FastRcnn(replace(network.shape, svm=True))
    copy.load_state_dict(network.state_dict())
    with torch.no_grad():
        copy.scores.weight.zero_()
        copy.scores.bias.zero_()
        copy.scores.weight[1:] = torch.from_numpy(model.weights * model.scale)
        copy.scores.bias[1:] = torch.from_numpy(model.bias)
    return copy.eval()
