"""Detectors with a transformer between neck and head, from image to logits and boxes."""

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from mmptq.utils.stop_forward import output_of

# mmdet's base of DETR, Conditional DETR, DAB-DETR, Deformable DETR and DINO.
BASE = 'DetectionTransformer'
PARTS = ('backbone', 'neck', 'bbox_head')
PREPROCESSOR = 'data_preprocessor'


def is_query_detector(detector: nn.Module) -> bool:
    """Whether a detector has the transformer of mmdet; its file has a fixed input size."""
    return any(base.__name__ == BASE for base in type(detector).__mro__)


def batch_axis(detector: nn.Module) -> int:
    """The axis of the images in head outputs; transformers of mmdet put decoder layers first."""
    return 1 if is_query_detector(detector) else 0


def exported_parts(detector: nn.Module) -> dict[str, nn.Module]:
    """The modules that become a file, by attribute: all but the data preprocessor."""
    return {n: m for n, m in detector.named_children() if n != PREPROCESSOR}


def head_outputs(detector: nn.Module, x: Tensor) -> Any:
    """What the head returns for images without padding, as it does in a prediction.

    Args:
        detector (nn.Module): In eval mode.
        x (Tensor): Input of the network, (B, C, H, W).
    """
    from mmdet.structures import DetDataSample

    size = (int(x.shape[2]), int(x.shape[3]))
    meta = dict(
        img_shape=size, batch_input_shape=size, pad_shape=size, ori_shape=size, scale_factor=(1, 1)
    )
    samples = [DetDataSample(metainfo=meta) for _ in range(int(x.shape[0]))]
    return output_of(detector.bbox_head, lambda: detector.predict(x, samples))


def replace_queries(detector: nn.Module, network: nn.Module) -> None:
    """Let another network compute the head outputs of a detector; its decoding stays.

    Args:
        detector (nn.Module): Changed in place: it loses its layers.
        network (nn.Module): Image in, nested head outputs out.
    """
    head = detector.bbox_head
    known = ('batch_data_samples', 'rescale')
    names = [name for name in inspect.signature(head.predict).parameters if name not in known]
    outputs: list[Any] = []

    def keep(features: Any, _: Any = None) -> dict[str, Tensor]:
        outputs[:] = [features]
        # The head looks at these before its forward, which is replaced.
        return {name: torch.zeros(1, 1, device='cpu') for name in names}

    for name in exported_parts(detector):
        if name != PARTS[2]:
            setattr(detector, name, nn.Identity())
    detector.backbone = network
    detector.forward_transformer = keep
    head.forward = lambda *_, **__: outputs[0]
