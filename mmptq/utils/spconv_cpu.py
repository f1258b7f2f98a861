"""Lets spconv 2 train on a CPU; importing this module is enough.

spconv computes gradients on a CPU, but its backward pass first asks CUDA for the current stream,
also for CPU tensors, and that call fails where there is no GPU. The stream is not used for CPU
tensors, so any number will do.

In a config: ``custom_imports = dict(imports=['mmptq.utils.spconv_cpu'])``.
"""

import torch


def _no_stream() -> int:
    """Stands in for the current CUDA stream; 0 is what spconv itself passes on a CPU."""
    return 0


def enable_cpu_training() -> bool:
    """Makes spconv's backward pass work on a machine without a GPU.

    Does nothing where CUDA is available or spconv is missing. Safe to call several times.

    Returns:
        bool: Whether spconv now trains on the CPU by this fix.
    """
    if torch.cuda.is_available():
        return False
    try:
        import spconv.pytorch.ops as ops
    except ImportError:
        return False
    if not hasattr(ops, 'get_current_stream'):
        return False
    ops.get_current_stream = _no_stream
    return True


enable_cpu_training()
