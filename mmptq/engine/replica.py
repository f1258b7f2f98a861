"""The wrapper of a model of which every process has a copy."""

from typing import Any

from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODEL_WRAPPERS
from torch import nn


@MODEL_WRAPPERS.register_module()
class Replica(nn.Module):
    """Holds the model of a process in place of ``MMDistributedDataParallel``.

    Stages combine gradients themselves, and nothing else is exchanged: a copy needs no buckets, no
    broadcast at the start, no parameter that wants a gradient, and no GPU. SyncBatchNorms become
    BatchNorms, as in a run of one process.

    Args:
        module (nn.Module): The model.
    """

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = revert_sync_batchnorm(module)

    def forward(self, *args, **kwargs) -> Any:
        """That of the model."""
        return self.module(*args, **kwargs)

    def val_step(self, data: Any) -> Any:
        """That of the model."""
        return self.module.val_step(data)

    def test_step(self, data: Any) -> Any:
        """That of the model."""
        return self.module.test_step(data)
