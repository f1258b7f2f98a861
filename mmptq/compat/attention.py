"""The fast path of torch's attention, which skips the modules inside."""

import torch
from torch import nn

from .patches import is_enabled

FUSED = (nn.TransformerEncoderLayer, nn.MultiheadAttention)


def keep_attention_unfused(model: nn.Module) -> None:
    """Let attention call the layers inside, in a model that has any.

    torch has one switch for the process, which stays off then.
    """
    if is_enabled('attention_unfused') and any(isinstance(m, FUSED) for m in model.modules()):
        torch.backends.mha.set_fastpath_enabled(False)
