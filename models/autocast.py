"""The arithmetic of training: bfloat16 where the processor computes in it, float32 elsewhere."""

import torch

# Where the instructions are missing, oneDNN emulates bfloat16 convolutions at a sixth of float32's speed and
# refuses LSTMs altogether (PyTorch 2.13, an AVX2 machine, November 2026).
BFLOAT16: bool = torch.ops.mkldnn._is_mkldnn_bf16_supported()


def autocast() -> torch.autocast:
    """Return the context in which networks are trained on the CPU."""
    return torch.autocast("cpu", torch.bfloat16, enabled=BFLOAT16)
