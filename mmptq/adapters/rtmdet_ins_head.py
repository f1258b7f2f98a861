"""The head of RTMDet-Ins: boxes, and masks by a convolution that each position makes."""

import copy
from typing import Any, ClassVar

import torch
from mmengine.registry import TASK_UTILS
from mmengine.structures import BaseDataElement
from torch import Tensor

from mmptq.utils import trees

from .dense_head import best_results
from .head_losses import loss_on_labels, require_train_cfg
from .head_output import HeadOutput, flatten_levels
from .instance_masks import as_masked_ground_truths
from .point_head import PointHeadAdapter


@TASK_UTILS.register_module()
class RTMDetInsHeadAdapter(PointHeadAdapter):
    """RTMDet-Ins: scores, distances, kernels of the mask branch, and the features that these read.

    Raw outputs are (scores, boxes, kernels, mask features); the features are one tensor
    (B, C, H, W), which is a part (``mask_feat``) and no regression by position.
    """

    head_types: ClassVar = ('RTMDetInsHead', 'RTMDetInsSepBNHead')
    output_names: ClassVar = ('cls', 'bbox', 'kernel', 'mask_feat')

    def outputs(self, raw: tuple) -> list[HeadOutput]:
        (output,) = super().outputs(raw[:2])
        output.regs['kernel'] = flatten_levels(raw[2], self.head.num_gen_params)
        return [output]

    @torch.no_grad()
    def pseudo_labels(
        self, raw: Any, data: dict[str, Any], score_thr: float, top_k: int
    ) -> list[BaseDataElement]:
        """See :class:`Adapter`; ``gt_instances`` also hold ``masks``."""
        samples = data['data_samples']
        results = best_results(self.head, raw, samples, score_thr, top_k)
        return as_masked_ground_truths(samples, results, score_thr, top_k)

    def loss(
        self, raw: Any, data: dict[str, Any], pseudo_labels: list[BaseDataElement]
    ) -> dict[str, Tensor]:
        require_train_cfg(self.head, self.head_names[-1])
        labels = copy.deepcopy(pseudo_labels)  # the loss replaces their masks
        return loss_on_labels(self.head, trees.clone_tensors(raw), labels)
