"""Choose anchors from the lanes of the training data."""

import numpy as np
import torch
from mmdet.registry import HOOKS
from mmengine.dist import broadcast
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.model import is_model_wrapper
from rich.progress import track

MAX_IMAGES = 2000


@HOOKS.register_module()
class LaneAnchorHook(Hook):
    """Before training, choose the anchors that match most lanes of the training data.

    Reads evenly spaced images of the training set with its transforms. An anchor matches a lane
    within twice the distance of a positive anchor, as in LaneATT's published anchors. Anchors that
    a checkpoint or a file has chosen are kept.

    Args:
        max_images (int): Maximum number of images to read.

    Example:
        >>> custom_hooks = [dict(type='LaneAnchorHook')]
    """

    def __init__(self, max_images: int = MAX_IMAGES) -> None:
        self.max_images = max_images

    def before_train(self, runner) -> None:
        """Count the matches and choose the anchors.

        Args:
            runner (Runner): The training.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        anchors = model.lane_head.anchors
        max_distance = 2 * model.lane_head.positive_distance
        if anchors.chosen:
            return
        dataset = runner.train_dataloader.dataset
        number = min(self.max_images, len(dataset))
        frequency = torch.zeros_like(anchors.all_starts, dtype=torch.long)
        for index in track(np.linspace(0, len(dataset) - 1, number).round().astype(int), 'Anchors'):
            sample = dataset[int(index)]['data_samples']
            frequency += anchors.count_matches(sample.gt_lanes, max_distance)
        broadcast(frequency)  # random transforms differ between processes
        anchors.choose(frequency)
        MMLogger.get_current_instance().info(
            f'chose {len(anchors.index)} of {len(frequency)} lane anchors from {number} images'
        )
