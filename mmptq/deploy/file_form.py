"""What a file takes and gives, besides what its backend wants."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mmptq.quantization import QuantizationError

from .opset import check_opset
from .raw_images import RawImages

OPEN = 'dynamic'


@dataclass(frozen=True)
class FileForm:
    """Inputs and outputs of an exported file.

    Args:
        dynamic (bool): Whether height and width of the input are left open. Defaults to True.
        batch (int | str, optional): Number of images that the file takes at a time; ``'dynamic'``
            leaves it open and refuses a network that cannot do that. Defaults to None: open where
            height, width and network allow it, 1 otherwise.
        opset (int, optional): See ``export_marked``.
        float_outputs (int, optional): See ``build_model``. Defaults to None: as many as needed.
        raw (RawImages, optional): Takes raw images and normalises them itself. Defaults to None.
        end_to_end (bool): Whether it gives boxes, scores and labels. Defaults to False.
    """

    dynamic: bool = True
    batch: int | str | None = None
    opset: int | None = None
    float_outputs: int | None = None
    raw: RawImages | None = None
    end_to_end: bool = False

    def __post_init__(self):
        fixed = isinstance(self.batch, int)
        if (fixed and self.batch < 1) or not (fixed or self.batch in (OPEN, None)):
            raise QuantizationError(
                f"--batch {self.batch}: use a number ≥ 1, or '{OPEN}' to leave it open"
            )
        if self.opset is not None:
            check_opset(self.opset)

    @property
    def open_batch(self) -> bool:
        """Whether the number of images is left open."""
        return self.batch == OPEN or (self.batch is None and self.dynamic)

    @property
    def images(self) -> int:
        """Images of an input that the file is traced with."""
        return self.batch if isinstance(self.batch, int) else 1

    def batches(self, inputs: list[Tensor]) -> list[Tensor]:
        """Inputs (1, C, H, W) as this file takes them, (B, C, H, W).

        Args:
            inputs (list[Tensor]): Where the size is fixed, only those of the size of the first
                one are used.
        """
        if not self.dynamic:
            inputs = [x for x in inputs if x.shape == inputs[0].shape]
        return inputs if self.images == 1 else stacked(inputs, self.images)


def stacked(inputs: list[Tensor], count: int) -> list[Tensor]:
    """Inputs of equal size, ``count`` at a time; the last batch begins again at the first one.

    Args:
        inputs (list[Tensor]): (1, C, H, W), of any sizes.
        count (int): Size of a batch.
    """
    by_size: dict[torch.Size, list[Tensor]] = {}
    for x in inputs:
        by_size.setdefault(x.shape, []).append(x)
    batches = []
    for group in by_size.values():
        for start in range(0, len(group), count):
            chosen = [group[(start + i) % len(group)] for i in range(count)]
            batches.append(torch.cat(chosen))
    return batches
