"""The first stage of Part-A2."""

from typing import Any, ClassVar

import torch
from mmengine.registry import TASK_UTILS
from mmengine.structures import BaseDataElement

from mmptq.utils import trees
from mmptq.utils.detector_parts import RPN_HEAD

from .anchor3d_head import Anchor3DHeadAdapter
from .head_losses import get_metainfo


@TASK_UTILS.register_module()
class PartA2RPNHeadAdapter(Anchor3DHeadAdapter):
    """The dense head of Part-A2, which proposes boxes; the second stage is not read.

    Note:
        ``decode`` gives the proposals as detections. A recipe that compares head outputs learns the
        network up to this head; layers of the second stage are calibrated only.
    """

    head_types: ClassVar = ('PartA2RPNHead',)
    module_names: ClassVar = (RPN_HEAD,)

    @torch.no_grad()
    def decode(self, raw: Any, data: dict[str, Any]) -> list[BaseDataElement]:
        samples = [type(s)(metainfo=s.metainfo) for s in data['data_samples']]
        results = self.head.predict_by_feat(
            *trees.clone_tensors(raw),
            cfg=self.head.test_cfg,
            batch_input_metas=get_metainfo(samples),
        )
        return self.model.add_pred_to_datasample(samples, results)
