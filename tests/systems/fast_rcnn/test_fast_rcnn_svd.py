import numpy as np
import pytest
import torch

from pipeline.systems.fast_rcnn.network import FastRcnn, FastRcnnShape
from pipeline.systems.fast_rcnn.svd import compress, fc_seconds


@pytest.fixture
def network() -> FastRcnn:
    torch.manual_seed(0)
    return FastRcnn(FastRcnnShape("small", 3, 64, 2, (64,), 96)).eval()


def test_the_product_is_the_best_approximation_of_its_rank(network: FastRcnn) -> None:
    small = compress(network, 20, 10)
    for name, rank in (("fc6", 20), ("fc7", 10)):
        layer, factors = getattr(network, name), getattr(small, name)
        product = (factors[1].weight @ factors[0].weight).detach().numpy()
        singular = np.linalg.svd(layer.weight.detach().numpy(), compute_uv=False)
        # Eckart and Young: what is left out has the remaining singular values.
        error = np.linalg.norm(layer.weight.detach().numpy() - product)
        assert error == pytest.approx(np.sqrt((singular[rank:] ** 2).sum()), rel=1e-4)
        assert factors[0].bias is None
        assert torch.equal(factors[1].bias, layer.bias)
    assert torch.equal(small.offsets.weight, network.offsets.weight)


def test_nearly_the_full_rank_changes_nearly_nothing(network: FastRcnn) -> None:
    with torch.no_grad():  # a layer of rank 12
        network.fc6.weight.copy_(torch.rand(64, 12) @ torch.rand(12, 864) / 100)
    pooled = torch.rand(7, 864)
    assert torch.allclose(compress(network, 12, 0).features(pooled), network.features(pooled), atol=1e-4)


def test_a_rank_that_saves_nothing_leaves_the_layer(network: FastRcnn, tmp_path) -> None:
    small = compress(network, 0, 60)
    assert (small.shape.fc6_rank, small.shape.fc7_rank) == (0, 0)
    assert torch.equal(small.fc7.weight, network.fc7.weight)
    compress(network, 8, 0).save(tmp_path / "n.safetensors")
    assert FastRcnn.load(tmp_path / "n.safetensors", "s").shape.fc6_rank == 8


def test_times_are_positive(network: FastRcnn) -> None:
    times = fc_seconds([network, compress(network, 4, 4)], 5, 3, torch.device("cpu"))
    assert len(times) == 2
    assert min(times) > 0
