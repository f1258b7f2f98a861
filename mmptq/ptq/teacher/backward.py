"""A backward through a model that may not have one."""

import torch
from torch import Tensor

from mmptq.utils.errors import QuantizationError
from mmptq.utils.messages import first_line


def backward(loss: Tensor) -> None:
    """``loss.backward()``, with a sentence where no gradients go through the model.

    Args:
        loss (Tensor): A scalar.

    Raises:
        QuantizationError: If the model computes without gradients, or changes in place what the
            backward needs.
    """
    try:
        loss.backward()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise QuantizationError(
            f'no gradients go through the model ({first_line(error)}), and this recipe needs them: '
            'choose one without them, such as mse'
        ) from error
