"""What an image is of, by the same classifier whose windows become boxes (section 3.3)."""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.evaluation.detections import Detections
from pipeline.imaging import as_images, stretch
from pipeline.systems.overfeat.network import Overfeat


@torch.inference_mode()
def image_scores(
    network: Overfeat, images: Iterable[NDArray[np.uint8]], device: torch.device, *, mirrored: bool
) -> NDArray[np.float32]:
    """Return how probable each class is in each image, ``(images, classes)``, 0 to 1.

    Of a scale that is the best of its windows, at all offsets; the result is the mean over the scales, and with
    ``mirrored`` over the image and its mirror image.

    Args:
        network: with a trained classifier, on ``device``, in evaluation mode.
        images: ``(H, W, 3)`` uint8 RGB.
        device: where the network is.
        mirrored: whether an object may as well be its mirror image, as the paper takes it.
    """
    rows = []
    for image in images:
        views = [image, image[:, ::-1]] if mirrored else [image]
        best = []
        for side in network.shape.scales:
            squares = as_images([stretch(view, side) for view in views]).to(device)
            logits, _ = network(squares, regress=False)
            best.append(logits.softmax(2)[:, :, 1:].amax(1))
        rows.append(torch.stack(best).mean((0, 1)).cpu().numpy())
    return np.array(rows, np.float32).reshape(len(rows), network.shape.classes)


def one_a_class(detections: Detections) -> Detections:
    """Return of each class the best box in each image, best first: an image's guesses in ILSVRC."""
    ranked = detections.ranked()
    _, first = np.unique(np.stack([ranked.image_ids, ranked.labels], axis=1), axis=0, return_index=True)
    return ranked.take(np.sort(first))
