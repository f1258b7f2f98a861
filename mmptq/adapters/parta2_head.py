"""The first stage of Part-A2."""

from typing import Any, ClassVar

import torch
from mmengine.registry import TASK_UTILS
from mmengine.structures import BaseDataElement, InstanceData

from mmptq.utils.detector_parts import RPN_HEAD

from .anchor3d_head import Anchor3DHeadAdapter


@TASK_UTILS.register_module()
class PartA2RPNHeadAdapter(Anchor3DHeadAdapter):
    """The dense head of Part-A2, which proposes boxes; the second stage is not read.

    Note:
        ``decode`` gives the proposals as detections. A recipe that compares head outputs learns the
        network up to this head; layers of the second stage are calibrated only.
    """

    head_types: ClassVar = ('PartA2RPNHead',)
    module_names: ClassVar = (RPN_HEAD,)

    def detect(
        self, raw: Any, samples: list[BaseDataElement], cfg: dict[str, Any]
    ) -> list[InstanceData]:
        results = super().detect(raw, samples, cfg)
        for result in results:
            if not len(result.bboxes_3d):  # the head gives such results another shape, (1, 0)
                for name in ('scores_3d', 'labels_3d', 'cls_preds'):
                    result.pop(name)
                result.scores_3d = result.labels_3d = result.bboxes_3d.tensor[:, 0]
        return results

    @torch.no_grad()
    def decode(self, raw: Any, data: dict[str, Any]) -> list[BaseDataElement]:
        samples = [type(s)(metainfo=s.metainfo) for s in data['data_samples']]
        results = self.detect(raw, samples, self.head.test_cfg)
        return self.model.add_pred_to_datasample(samples, results)
