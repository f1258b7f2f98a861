"""A detector whose boxes come from a file, for the stock test loop."""

from collections.abc import Callable
from typing import Any

from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmptq.deploy.exported_subgraph import replace_subgraph

from .detections import from_file

METADATA_KEY = 'detections'
STRUCTURE = {'tuple': [0, 1, 2]}


def replace_predictions(
    detector: nn.Module, run: Callable[[Tensor], list[Tensor]], clips: bool
) -> None:
    """Let a file compute everything up to the boxes of a detector.

    Only the data preprocessor stays, and boxes are scaled to the original image.

    Args:
        detector (nn.Module): Changed in place.
        run (Callable): Tensor in; boxes, scores and labels out.
        clips (bool): Whether boxes are cut at the border of the image without padding.
    """
    replace_subgraph(detector, run, STRUCTURE)

    def predict(x: Any, batch_data_samples: list, rescale: bool = False) -> list[InstanceData]:
        results = []
        for boxes, scores, labels, sample in zip(*x, batch_data_samples, strict=True):
            found = from_file(boxes, scores, labels, sample.img_shape if clips else None)
            if rescale:
                scale = found.bboxes.new_tensor(sample.scale_factor)
                found.bboxes = found.bboxes / scale.repeat(2)
            results.append(found)
        return results

    detector.bbox_head.predict = predict
