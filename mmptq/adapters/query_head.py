"""Detectors with queries: DETR and its successors in mmdet."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, ClassVar

import torch
from mmengine.registry import TASK_UTILS
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from mmptq.quantization import quantizers_off
from mmptq.utils.attributes import replaced_attribute
from mmptq.utils.stop_forward import StopForward

from .adapter import Adapter
from .chosen_queries import ChosenQueries
from .ground_truth import as_ground_truths
from .head_losses import get_metainfo, require_train_cfg, sum_losses
from .head_output import HeadOutput

# Where the rows that the float model chose are kept in a data sample.
CHOSEN = 'float_queries'


@TASK_UTILS.register_module()
class QueryHeadAdapter(Adapter):
    """DETR, Conditional DETR, DAB-DETR, Deformable DETR (one- and two-stage) and DINO.

    Positions are the queries; only the last layer of the decoder counts, which is the one that
    predicts. Queries keep their order, so that float and quantized outputs belong together row by
    row. A two-stage detector takes its queries from the best positions of the encoder: float and
    quantized model get those of the float model, which are stored in the data samples.

    Raw outputs are a dict: ``cls`` (B, Q, K), logits (with background last for a softmax), ``bbox``
    (B, Q, 4), centre, width and height as shares of the image, and ``scale`` (B, 4), width and
    height of the image in pixels, twice.
    """

    head_types: ClassVar = (
        'DETRHead',
        'ConditionalDETRHead',
        'DABDETRHead',
        'DeformableDETRHead',
        'DINOHead',
    )

    @classmethod
    def accepts(cls, model: nn.Module) -> bool:
        return hasattr(model, 'forward_transformer') and super().accepts(model)

    def raw_outputs(self, data: dict[str, Any]) -> dict[str, Tensor]:
        with self._queries_of_float_model(data):
            scores, boxes = super().raw_outputs(data)
        shapes = [meta['img_shape'][:2] for meta in get_metainfo(data['data_samples'])]
        scale = boxes.new_tensor([[width, height] * 2 for height, width in shapes])
        return dict(cls=scores[-1], bbox=boxes[-1], scale=scale)

    @contextmanager
    def _queries_of_float_model(self, data: dict[str, Any]) -> Iterator[None]:
        """Within this context a two-stage detector takes the queries of the float model."""
        if not getattr(self.model, 'as_two_stage', False):
            yield
            return
        samples = data['data_samples']
        if not all(CHOSEN in sample for sample in samples):
            with quantizers_off(self.model), torch.no_grad():
                rows = self._choose(data)
            for sample, row in zip(samples, rows, strict=True):
                sample.set_field(row, CHOSEN)
        rows = torch.stack([sample.get(CHOSEN) for sample in samples])
        with replaced_attribute(self.model, 'pre_decoder', self._choosing(ChosenQueries(rows))):
            yield

    def _choose(self, data: dict[str, Any]) -> Tensor:
        """Rows (B, Q) of the encoder that the model takes as queries."""
        chosen = ChosenQueries()
        replacement = self._choosing(chosen, stop=True)
        with suppress(StopForward), replaced_attribute(self.model, 'pre_decoder', replacement):
            self.model(**data, mode='predict')
        return chosen.rows

    def _choosing(self, chosen: ChosenQueries, stop: bool = False) -> Callable[..., Any]:
        """The model's choice of queries within a context, and nothing after it if ``stop``."""
        choose = self.model.pre_decoder

        def pre_decoder(*args: Any, **kwargs: Any) -> Any:
            with chosen:
                result = choose(*args, **kwargs)
            if stop:
                raise StopForward
            return result

        return pre_decoder

    def part_name(self, path: tuple) -> str | None:
        return None if path[0] == 'scale' else path[0]

    def outputs(self, raw: dict[str, Tensor]) -> list[HeadOutput]:
        centre, size = raw['bbox'].split(2, -1)
        boxes = torch.cat((centre - size / 2, centre + size / 2), -1) * raw['scale'][:, None]
        softmax = not self.head.loss_cls.use_sigmoid
        regs = dict(bbox=raw['bbox'])
        return [HeadOutput(self.head_names[-1], raw['cls'], regs, boxes, softmax)]

    @torch.no_grad()
    def decode(self, raw: dict[str, Tensor], data: dict[str, Any]) -> list[BaseDataElement]:
        samples = [type(s)(metainfo=s.metainfo) for s in data['data_samples']]
        return self.model.add_pred_to_datasample(samples, self._detections(raw, samples, True))

    @torch.no_grad()
    def pseudo_labels(
        self, raw: dict[str, Tensor], data: dict[str, Any], score_thr: float, top_k: int
    ) -> list[BaseDataElement]:
        samples = data['data_samples']
        results = self._detections(raw, samples, False)
        return as_ground_truths(samples, results, score_thr, top_k)

    def _detections(
        self, raw: dict[str, Tensor], samples: list[BaseDataElement], rescale: bool
    ) -> list[Any]:
        scores, boxes = self._last_layer(raw)
        metas = get_metainfo(samples)
        return self.head.predict_by_feat(scores, boxes, batch_img_metas=metas, rescale=rescale)

    def _last_layer(self, raw: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Copies of scores and boxes as the head returns them, for one decoder layer."""
        return raw['cls'].clone()[None], raw['bbox'].clone()[None]

    def loss(
        self, raw: dict[str, Tensor], data: dict[str, Any], pseudo_labels: list[BaseDataElement]
    ) -> dict[str, Tensor]:
        """See :class:`Adapter`; without the losses on encoder and denoising queries."""
        require_train_cfg(self.head, self.head_names[-1])
        base = next(kind for kind in type(self.head).__mro__ if kind.__name__ == 'DETRHead')
        instances = [sample.gt_instances for sample in pseudo_labels]
        metas = get_metainfo(pseudo_labels)
        return sum_losses(base.loss_by_feat(self.head, *self._last_layer(raw), instances, metas))
