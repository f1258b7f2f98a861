"""CondInst: an FCOS head that also makes the convolutions of a mask head."""

import copy
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import torch
from mmdet.models.dense_heads import CondInstMaskHead
from mmengine.registry import TASK_UTILS
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from mmptq.utils import trees
from mmptq.utils.hooks import replaced_forwards

from .dense_head import best_results
from .head_output import HeadOutput, flatten_levels
from .instance_masks import as_masked_ground_truths
from .point_head import FCOSHeadAdapter


@TASK_UTILS.register_module()
class CondInstHeadAdapter(FCOSHeadAdapter):
    """CondInst: FCOS with kernels by position, and the features that these read.

    Raw outputs are (scores, distances, centerness, kernels, mask features): what the box head
    returns, and the output (B, C, H, W) of ``mask_head.mask_feature_head``, which is a part
    (``mask_feat``) and no regression by position.
    """

    head_types: ClassVar = ('CondInstBboxHead',)
    output_names: ClassVar = ('cls', 'bbox', 'quality', 'kernel', 'mask_feat')

    @classmethod
    def accepts(cls, model: nn.Module) -> bool:
        # BoxInst has the same box head, and a mask loss that needs the image itself.
        mask_head = type(getattr(model, 'mask_head', None))
        return super().accepts(model) and getattr(mask_head, 'loss_by_feat', None) is (
            CondInstMaskHead.loss_by_feat
        )

    def raw_outputs(self, data: dict[str, Any]) -> tuple:
        features = self.model.extract_feat(data['inputs'])
        return *self.head(features), self.model.mask_head.mask_feature_head(features)

    def _mask_features(self, raw: tuple) -> AbstractContextManager:
        """Within this context the mask head reads the features of raw outputs."""
        branch = self.model.mask_head.mask_feature_head
        return replaced_forwards({branch: lambda *_: raw[-1]})

    def outputs(self, raw: tuple) -> list[HeadOutput]:
        (output,) = super().outputs(raw[:3])
        output.regs['kernel'] = flatten_levels(raw[3], self.head.num_params)
        return [output]

    @torch.no_grad()
    def decode(self, raw: tuple, data: dict[str, Any]) -> list[BaseDataElement]:
        raw = trees.clone_tensors(raw)
        with self._mask_features(raw):
            return super().decode(raw[:-1], data)

    @torch.no_grad()
    def pseudo_labels(
        self, raw: tuple, data: dict[str, Any], score_thr: float, top_k: int
    ) -> list[BaseDataElement]:
        """See :class:`Adapter`; ``gt_instances`` also hold ``masks``."""
        samples = data['data_samples']
        results = best_results(self.head, raw[:-1], samples, score_thr, top_k)
        with self._mask_features(trees.copy_tensors(raw)):
            results = self.model.mask_head.predict(None, samples, False, results)
        return as_masked_ground_truths(samples, results, score_thr, top_k)

    def loss_inputs(self, raw: tuple) -> tuple:
        return *super().loss_inputs(raw[:3]), trees.clone_tensors(raw[3])

    def loss(
        self, raw: tuple, data: dict[str, Any], pseudo_labels: list[BaseDataElement]
    ) -> dict[str, Tensor]:
        losses = super().loss(raw, data, pseudo_labels)
        labels = copy.deepcopy(pseudo_labels)  # the loss pads their masks
        with self._mask_features(raw):
            masks = self.model.mask_head.loss(
                None, labels, positive_infos=self.head.get_positive_infos()
            )
        return {**losses, **masks}
