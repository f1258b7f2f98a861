"""The head of PGD: FCOS3D with a distribution over depths and 2D boxes."""

from typing import ClassVar

from mmengine.registry import TASK_UTILS
from torch import Tensor
from torch.nn.functional import logsigmoid

from mmptq.utils import trees

from .head_losses import require_train_cfg
from .head_output import HeadOutput, flatten_levels, logit_of_log
from .mono3d_head import FCOSMono3DHeadAdapter

KEYPOINTS = 16  # two coordinates of eight corners
SIDES = 4  # distances to the sides of the 2D box, the last values of a box


@TASK_UTILS.register_module()
class PGDHeadAdapter(FCOSMono3DHeadAdapter):
    """PGD: what FCOS3D gives, with logits of depth bins and a weight of each position.

    ``bbox`` also holds keypoints (KITTI) and the distances to the sides of a 2D box, where the head
    predicts them. ``depth`` and ``weight`` are absent where the head has no such branch. Scores are
    the products that rank detections: class, centerness, certainty of the depth and exp(-weight).
    """

    head_types: ClassVar = ('PGDHead',)
    output_names: ClassVar = (
        *('cls', 'bbox', 'direction', 'depth', 'weight', 'attribute', 'quality'),
    )

    def outputs(self, raw: tuple[list[Tensor], ...]) -> list[HeadOutput]:
        head, levels = self.head, dict(zip(self.output_names, raw, strict=True))
        sizes = dict(bbox=sum(head.group_reg_dims))
        if head.use_direction_classifier:
            sizes['direction'] = 2
        if head.use_depth_classifier:
            sizes['depth'] = head.num_depth_cls
        if head.weight_dim != -1:
            sizes['weight'] = head.weight_dim
        if head.pred_attrs:
            sizes['attribute'] = head.num_attrs
        sizes['quality'] = 1
        regs = {name: flatten_levels(levels[name], size) for name, size in sizes.items()}
        scores = flatten_levels(levels['cls'], head.cls_out_channels)
        log_score = logsigmoid(scores) + logsigmoid(regs['quality'])
        if 'depth' in regs:
            confidence = regs['depth'].softmax(-1).topk(2).values.mean(-1, keepdim=True)
            log_score = log_score + confidence.log()
            if 'weight' in regs:
                log_score = log_score - regs['weight'][..., -1:]
        return [HeadOutput(self.head_names[-1], logit_of_log(log_score), regs)]

    def loss_inputs(self, raw: tuple[list[Tensor], ...]) -> tuple:
        head = self.head
        require_train_cfg(head, self.head_names[-1])
        raw = trees.clone_tensors(raw)
        if head.norm_on_bbox:
            # The head multiplies by strides in eval mode but not in training.
            start = head.bbox_coder.bbox_code_size
            for box, stride in zip(raw[1], head.strides, strict=True):
                box[:, :2] /= stride
                if head.pred_keypoints:
                    farthest = stride * head.regress_ranges[0][1] / head.strides[0]
                    box[:, start : start + KEYPOINTS] /= farthest
                if head.pred_bbox2d:
                    box[:, -SIDES:] /= stride
        return raw
