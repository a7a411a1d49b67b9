"""The arithmetic of training: bfloat16 where the processor or the GPU computes in it, float32 elsewhere."""

import torch

# Where the instructions are missing, oneDNN emulates bfloat16 convolutions at a sixth of float32's speed and
# refuses LSTMs altogether (PyTorch 2.13, an AVX2 machine, November 2026).
BFLOAT16: bool = torch.ops.mkldnn._is_mkldnn_bf16_supported()


def autocast(device: str = "cpu") -> torch.autocast:
    """Return the context in which networks are trained on a device, `cpu` or `cuda`."""
    has = BFLOAT16 if device == "cpu" else torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.autocast(device, torch.bfloat16, enabled=has)
