"""CenterPoint: heatmaps of object centres and regressions at each cell."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from mmengine.registry import TASK_UTILS
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor
from torch.nn.functional import pad

from mmptq.utils import trees
from mmptq.utils.attributes import replaced_attribute

from .adapter import Adapter
from .ground_truth_3d import as_ground_truth_3d, best_detections
from .head_losses import get_metainfo, require_train_cfg, sum_losses
from .head_output import HeadOutput, flatten_level

# Columns of a box with a velocity: x, y, z, three sizes, heading and two velocities.
NUM_BOX_VALUES = 9


@TASK_UTILS.register_module()
class CenterHeadAdapter(Adapter):
    """Detectors with mmdet3d's ``CenterHead``; each of its tasks is a head output.

    Limits on score and number of pseudo labels hold per task, because each task has its own
    heatmaps, NMS and losses.

    Note:
        mmdet3d's target assignment requires velocities. If the head has no velocity branch, as on
        Waymo, output and target both get a velocity of zero, which adds nothing to the loss.
    """

    head_types: ClassVar = ('CenterHead',)

    def outputs(self, raw: tuple[list[dict[str, Tensor]], ...]) -> list[HeadOutput]:
        outputs = []
        for index, (branches,) in enumerate(raw):
            regs = {name: flatten_level(x, x.shape[1]) for name, x in branches.items()}
            scores = regs.pop('heatmap')
            outputs.append(HeadOutput(f'{self.head_names[-1]}.task{index}', scores, regs))
        return outputs

    def part_name(self, path: tuple) -> str:
        task, _, branch = path
        return f'task{task}.{branch}'

    def response_limit(self, name: str) -> int | None:
        return self.head.bbox_coder.max_num

    @torch.no_grad()
    def pseudo_labels(
        self, raw: Any, data: dict[str, Any], score_thr: float, top_k: int
    ) -> list[BaseDataElement]:
        samples = data['data_samples']
        results = self.head.predict_by_feat(trees.copy_tensors(raw), get_metainfo(samples))
        return [
            as_ground_truth_3d(sample, result, self._chosen(result, score_thr, top_k))
            for sample, result in zip(samples, results, strict=True)
        ]

    def _chosen(self, result: InstanceData, score_thr: float, top_k: int) -> Tensor:
        """Indices (m,) of the detections that are kept, task by task."""
        chosen, first = [], 0
        for num_classes in self.head.num_classes:
            classes = range(first, first + num_classes)
            chosen.append(best_detections(result, score_thr, top_k, classes))
            first += num_classes
        return torch.cat(chosen)

    def loss(
        self, raw: Any, data: dict[str, Any], pseudo_labels: list[BaseDataElement]
    ) -> dict[str, Tensor]:
        require_train_cfg(self.head, self.head_names[-1])
        # The head applies its sigmoid in place, and adds an entry to each task.
        raw = trees.clone_tensors(raw)
        for (branches,) in raw:
            if 'vel' not in branches:
                branches['vel'] = torch.zeros_like(branches['rot'])
        instances = [sample.gt_instances_3d for sample in pseudo_labels]
        with self._remembered_targets(pseudo_labels):
            return sum_losses(self.head.loss_by_feat(raw, instances))

    @contextmanager
    def _remembered_targets(self, samples: list[BaseDataElement]) -> Iterator[None]:
        """Within this context targets are assigned once per sample: drawing heat maps is slow.

        They become a field of the data sample, so that they live as long as the pseudo labels.
        """
        assign = self.head.get_targets_single
        owners = {id(sample.gt_instances_3d): sample for sample in samples}

        def remembered(instances: InstanceData) -> tuple:
            sample = owners[id(instances)]
            if 'assigned_targets' not in sample:
                sample.assigned_targets = assign(_with_velocity(instances))
            return sample.assigned_targets

        with replaced_attribute(self.head, 'get_targets_single', remembered):
            yield


def _with_velocity(instances: InstanceData) -> InstanceData:
    boxes = instances.bboxes_3d
    missing = NUM_BOX_VALUES - boxes.tensor.shape[1]
    if missing <= 0:
        return instances
    boxes = type(boxes)(pad(boxes.tensor, (0, missing)), box_dim=NUM_BOX_VALUES)
    return InstanceData(bboxes_3d=boxes, labels_3d=instances.labels_3d)
