"""What `precision` means: by processor and GPU, and beside a network in double precision."""

import pytest
import torch
from torch import nn

from pipeline.nets.precision import caching, has_bf16, training_precision

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def has(monkeypatch: pytest.MonkeyPatch, *instructions: str) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(instructions, True))


@pytest.mark.parametrize(
    ("instructions", "expected"),
    [
        (("avx2", "avx512_f"), "fp32"),
        (("avx2", "avx512_f", "avx512_bf16"), "bf16"),
        (("avx512_f", "amx_tile", "amx_bf16"), "bf16"),
        (("neon", "bf16"), "fp32"),  # of an ARM processor: not measured
    ],
)
def test_auto_asks_the_processor(monkeypatch, instructions, expected):
    has(monkeypatch, *instructions)
    assert training_precision("auto", CPU) == expected
    assert has_bf16(CPU) == (expected == "bf16")


def test_auto_asks_the_gpu_for_instructions_and_not_for_an_emulation(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **options: asked.append(options) or True)
    assert training_precision("auto", GPU) == "bf16"
    assert asked == [{"including_emulation": False}]


@pytest.mark.parametrize("asked", ["fp32", "tf32", "bf16"])
def test_what_is_asked_for_is_not_replaced(monkeypatch, asked):
    has(monkeypatch)
    assert training_precision(asked, CPU) == asked


@pytest.mark.parametrize(
    ("asked", "instructions", "kind"),
    [
        ("fp32", ("avx512_bf16",), torch.float32),
        ("auto", (), torch.float32),
        ("auto", ("avx512_bf16",), torch.bfloat16),
        ("bf16", (), torch.bfloat16),
        ("fp16", (), torch.float16),
    ],
)
def test_a_cache_s_network_computes_in_what_was_asked_for(monkeypatch, asked, instructions, kind):
    has(monkeypatch, *instructions)
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 8, 3)
    inputs = torch.randn(2, 3, 9, 9)
    with torch.inference_mode(), caching(asked, CPU):
        values = layer(inputs)
    assert values.dtype == kind
    exact = layer.double()(inputs.double())
    # Rounding of inputs, weights and result: half a unit in the last of 24, 11 or 8 bits each.
    unit = torch.finfo(kind).eps
    assert (values.double() - exact).abs().max() < 4 * unit * exact.abs().max()


@pytest.mark.filterwarnings("ignore:CUDA is not available")
def test_on_a_gpu_a_cache_keeps_the_ten_bits_of_fp16():
    assert caching("auto", GPU).fast_dtype == torch.float16
