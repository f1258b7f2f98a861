"""PointPillars and SECOND: 3D boxes relative to anchors."""

import copy
from typing import Any, ClassVar

import torch
from mmengine.registry import TASK_UTILS
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor

from mmptq.utils import trees

from .adapter import Adapter
from .ground_truth_3d import as_ground_truths_3d
from .head_losses import get_metainfo, require_train_cfg, sum_losses
from .head_output import HeadOutput, flatten_levels


@TASK_UTILS.register_module()
class Anchor3DHeadAdapter(Adapter):
    """Detectors with mmdet3d's ``Anchor3DHead``: class scores, box deltas and a direction.

    PointPillars, SECOND, SA-SSD, MVX-Net and ImVoxelNet on KITTI have it.
    """

    head_types: ClassVar = ('Anchor3DHead',)
    output_names: ClassVar = ('cls', 'bbox', 'direction')

    def raw_outputs(self, data: dict[str, Any]) -> Any:
        # PillarFeatureNet in its default (legacy) mode changes its input voxels in place, so a
        # second run of the same batch would read other voxels.
        return super().raw_outputs(dict(data, inputs=trees.clone_tensors(data['inputs'])))

    def outputs(self, raw: tuple[list[Tensor], ...]) -> list[HeadOutput]:
        head = self.head
        regs = {'bbox': flatten_levels(raw[1], head.box_code_size)}
        if head.use_direction_classifier:
            regs['direction'] = flatten_levels(raw[2], 2)
        scores = flatten_levels(raw[0], head.num_classes)
        softmax = not head.use_sigmoid_cls
        return [HeadOutput(self.head_names[-1], scores, regs, softmax=softmax)]

    @torch.no_grad()
    def pseudo_labels(
        self, raw: Any, data: dict[str, Any], score_thr: float, top_k: int
    ) -> list[BaseDataElement]:
        cfg = copy.deepcopy(self.head.test_cfg)
        cfg.update(score_thr=score_thr, max_num=top_k)
        samples = data['data_samples']
        results = self.detect(raw, samples, cfg)
        return as_ground_truths_3d(samples, results, score_thr, top_k)

    def detect(
        self, raw: Any, samples: list[BaseDataElement], cfg: dict[str, Any]
    ) -> list[InstanceData]:
        """Decoded bboxes_3d, scores_3d and labels_3d of each scan."""
        return self.head.predict_by_feat(
            *trees.copy_tensors(raw), batch_input_metas=get_metainfo(samples), cfg=cfg
        )

    def loss(
        self, raw: Any, data: dict[str, Any], pseudo_labels: list[BaseDataElement]
    ) -> dict[str, Tensor]:
        require_train_cfg(self.head, self.head_names[-1])
        instances = [sample.gt_instances_3d for sample in pseudo_labels]
        losses = self.head.loss_by_feat(
            *trees.clone_tensors(raw), instances, get_metainfo(pseudo_labels)
        )
        if not self.head.use_direction_classifier:
            for name in ('loss_dir', 'loss_rpn_dir'):
                losses.pop(name, None)  # a list of None
        return sum_losses(losses)
