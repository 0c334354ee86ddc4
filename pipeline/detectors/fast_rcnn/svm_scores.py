"""SVMs in place of the softmax layer (Fast R-CNN, section 5.4; ``tools/train_svms.py``)."""

from dataclasses import replace

import torch

from pipeline.classical.linear import LinearModel
from pipeline.detectors.fast_rcnn.network import FastRcnn


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
