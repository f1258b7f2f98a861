"""Whether a file gives the detections of its detector."""

from typing import Any

import torch
from mmengine.logging import MMLogger
from torch import Tensor

from mmptq.quantization import QuantizationError
from mmptq.utils.trees import copy_tensors, from_json, unflatten

from .decoding import DenseDecoding
from .detections import LEAST_SHARE, Share, from_file


@torch.no_grad()
def check_detections(
    decoding: DenseDecoding,
    structure: Any,
    found: list[list[Tensor]],
    head_outputs: list[list[Tensor]],
    simulated: list[list[Tensor]],
    sizes: list[tuple[int, int]],
) -> dict[str, Any]:
    """Compare a file in its engine with the detector's own decoding.

    Args:
        decoding (DenseDecoding): Names the head, whose ``predict_by_feat`` is the reference.
        structure (Any): How the head outputs nest, as plain data.
        found (list[list[Tensor]]): Boxes, scores and labels of the file, one list per input.
        head_outputs (list[list[Tensor]]): What the same engine gives as head outputs; the share
            of equal detections has to reach ``LEAST_SHARE``.
        simulated (list[list[Tensor]]): What the file gives as head outputs in float arithmetic; the
            share is reported.
        sizes (list[tuple[int, int]]): Height and width of each input.

    Returns:
        dict: Both shares and the number of detections, for the file's metadata.

    Raises:
        QuantizationError: If too few detections are the same.
    """
    of_engine, of_model = Share(), Share()
    nesting = from_json(structure)
    for outputs, raw, model, size in zip(found, head_outputs, simulated, sizes, strict=True):
        for share, tensors in ((of_engine, raw), (of_model, model)):
            expected = own_detections(decoding, unflatten(nesting, tensors), size)
            for parts, own in zip(zip(*outputs, strict=True), expected, strict=True):
                share.update(from_file(*parts), own[: decoding.suppression.most])
    logger = MMLogger.get_current_instance()
    if not of_engine.all:
        logger.warning(
            'no sample has a detection: that the file decodes as the detector does was not checked'
        )
    logger.info(
        f'detections of the file: {of_engine} as the detector decodes the same head outputs, '
        f'{of_model} as the file gives in float arithmetic'
    )
    if of_engine.value < LEAST_SHARE:
        raise QuantizationError(
            f'--end-to-end: {of_engine} detections are those of {type(decoding.head).__name__}, '
            f'at least {100 * LEAST_SHARE:g} % are expected: nothing is written; leave out '
            '--end-to-end'
        )
    return dict(
        count=of_engine.all,
        as_decoded_by_the_detector=round(of_engine.value, 4),
        as_simulated=round(of_model.value, 4),
    )


def own_detections(decoding: DenseDecoding, raw: Any, size: tuple[int, int]) -> list:
    """What the head itself makes of raw outputs, the best first; in pixels of the input."""
    metas = [dict(img_shape=size, scale_factor=(1.0, 1.0))] * len(raw[0][0])
    results = decoding.head.predict_by_feat(
        *copy_tensors(raw), batch_img_metas=metas, cfg=decoding.cfg, rescale=False
    )
    return [result[result.scores.argsort(descending=True, stable=True)] for result in results]
