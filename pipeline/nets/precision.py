"""In which precision a network computes: what the values of ``precision`` in ``params.yaml`` mean on a device."""

from collections.abc import Mapping
from typing import Any, Literal

import torch

from pipeline.core.sections import CachePrecision, Precision

HARDWARE = ("avx512_bf16", "amx_bf16")
"""Instructions of processors that multiply bfloat16 and add float32; elsewhere it is slower than float32."""


def training_precision(asked: Precision, device: torch.device) -> Literal["fp32", "tf32", "bf16"]:
    """Return what a training computes in where ``asked`` is wanted: ``auto`` is bf16 where `has_bf16`, else fp32."""
    if asked == "auto":
        return "bf16" if has_bf16(device) else "fp32"
    return asked


def caching(asked: CachePrecision, device: torch.device) -> torch.autocast:
    """Return the context in which features for a cache are computed, and those of a detector that stand for them.

    ``auto`` is fp16 on a GPU, whose ten bits of fraction the cache keeps; bf16, with seven, where `has_bf16`, since
    processors multiply fp16 no faster than float32; else fp32.
    """
    precision = caching_precision(asked, device)
    kind = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, kind, enabled=precision != "fp32")


def caching_precision(asked: CachePrecision, device: torch.device) -> Literal["fp32", "fp16", "bf16"]:
    """Return what `caching` computes in where ``asked`` is wanted."""
    if asked == "auto":
        return "fp16" if device.type == "cuda" else "bf16" if has_bf16(device) else "fp32"
    return asked


def has_bf16(device: torch.device) -> bool:
    """Return whether ``device`` has instructions for bfloat16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.11 cannot say
    return any(known.get(name, False) for name in HARDWARE)
