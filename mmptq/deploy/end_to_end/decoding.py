"""From the raw outputs of a dense head to boxes, scores and labels, in operators of ONNX."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mmptq.deploy.exported_subgraph import find_family
from mmptq.quantization import QuantizationError
from mmptq.utils.trees import from_json, unflatten

from .level_priors import LevelPriors
from .suppression import INVALID, Suppression, best_of, take

OUTPUTS = ('boxes', 'scores', 'labels')


class DenseDecoding(nn.Module):
    """The decoding of a dense head of mmdet: RetinaNet, SSD, ATSS, FCOS, RTMDet, VFNet, YOLOF.

    As the head does, it takes the best positions of each level, decodes their boxes with the
    head's own coder, multiplies scores by a centerness, and suppresses boxes.

    Args:
        head (nn.Module): Its coder, priors and ``test_cfg`` are used.
        structure (Any): How the raw outputs nest, as plain data.
        pad (bool): Whether the file takes images of any size.

    Attributes:
        methods (dict[str, str]): The methods of the head that are written here, with the class
            that each must come from.

    Raises:
        QuantizationError: If a setting of the head cannot be written in ONNX.
    """

    methods: ClassVar[dict[str, str]] = {
        'predict_by_feat': 'BaseDenseHead',
        '_predict_by_feat_single': 'BaseDenseHead',
        '_bbox_post_process': 'BaseDenseHead',
    }

    def __init__(self, head: nn.Module, structure: Any, pad: bool):
        super().__init__()
        self._head = (head,)  # no part of this module: its layers are in the network
        self._structure = from_json(structure)
        self._pad = pad
        self.cfg = head.test_cfg
        self.suppression = Suppression.from_config(self.cfg)
        generator = head.prior_generator
        self.priors = nn.ModuleList(
            LevelPriors(generator, level, **self.prior_options())
            for level in range(generator.num_levels)
        )

    @classmethod
    def accepts(cls, head: nn.Module) -> bool:
        """Whether the head decodes as this class does."""
        return all(_owner(head, name) == owner for name, owner in cls.methods.items())

    @property
    def head(self) -> nn.Module:
        """The head."""
        return self._head[0]

    @property
    def clips(self) -> bool:
        """Whether boxes are cut at the border of the image."""
        return bool(getattr(self.head.bbox_coder, 'clip_border', True))

    def prior_options(self) -> dict[str, Any]:
        """Arguments of the prior generator."""
        return {}

    def forward(self, image: Tensor, *outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes (B, N, 4) in pixels of the input, scores (B, N) and labels (B, N).

        Args:
            image (Tensor): Input of the network; only its size is used.
            *outputs (Tensor): Flat raw outputs of the head.
        """
        raw = unflatten(self._structure, list(outputs))
        levels = [self.level(i, *maps) for i, maps in enumerate(zip(*raw, strict=True))]
        boxes, scores, labels = (torch.cat(parts, 1) for parts in zip(*levels, strict=True))
        if self.clips:
            boxes = clip(boxes, image)
        smallest = self.cfg.get('min_bbox_size', -1)
        if smallest >= 0:
            large = ((boxes[..., 2:] - boxes[..., :2]) > smallest).all(-1)
            scores = torch.where(large, scores, torch.full_like(scores, INVALID))
        return self.suppression.apply(boxes, scores, labels, self._pad and not self._limit)

    @property
    def _limit(self) -> int | None:
        """Candidates of a level, where the head limits them."""
        limit = self.cfg.get('nms_pre', -1)
        return limit if limit > 0 else None

    def level(
        self, index: int, cls: Tensor, bbox: Tensor, quality: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes (B, M, 4), scores (B, M) and labels (B, M) of the best positions of a level."""
        scores = self.probabilities(flatten(cls, self.head.cls_out_channels))
        classes = scores.shape[-1]
        scores, place = self._candidates(scores.flatten(1))
        position = torch.div(place, classes, rounding_mode='floor')
        labels = place - position * classes
        valid = scores > self.cfg.get('score_thr', 0)
        if quality is not None:
            scores = scores * flatten(quality, 1)[..., 0].sigmoid().gather(1, position)
        scores = torch.where(valid, scores, torch.full_like(scores, INVALID))
        deltas = take(flatten(bbox, self.num_regs()), position)
        priors = self.priors[index](position, bbox.shape[-1])
        return self.decode(deltas, priors, index), scores, labels

    def _candidates(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        if self._limit is None:
            index = torch.ones_like(scores, dtype=torch.int64).cumsum(1) - 1
            return scores, index
        return best_of(scores, self._limit, self._pad)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Foreground probabilities (B, n, K) of logits."""
        if self.head.use_sigmoid_cls:
            return logits.sigmoid()
        return logits.softmax(-1)[..., :-1]

    def num_regs(self) -> int:
        """Number of values per box before decoding."""
        return self.head.bbox_coder.encode_size

    def decode(self, deltas: Tensor, priors: Tensor, level: int) -> Tensor:
        """Corners (B, M, 4) of encoded boxes (B, M, D) at priors (B, M, 2 or 4)."""
        flat = self.head.bbox_coder.decode(
            priors.reshape(-1, priors.shape[-1]), deltas.reshape(-1, deltas.shape[-1])
        )
        return flat.reshape(priors.shape[0], -1, 4)


class GflDecoding(DenseDecoding):
    """GFL: a distribution over distances for each of the four sides."""

    methods: ClassVar = dict(DenseDecoding.methods, _predict_by_feat_single='GFLHead')

    def num_regs(self) -> int:
        return 4 * (self.head.reg_max + 1)

    def decode(self, deltas: Tensor, priors: Tensor, level: int) -> Tensor:
        stride = self.head.prior_generator.strides[level][0]
        distances = self.head.integral(deltas.reshape(-1, deltas.shape[-1])) * stride
        points = self.head.anchor_center(priors.reshape(-1, 4))
        boxes = self.head.bbox_coder.decode(points, distances.reshape(-1, 4))
        return boxes.reshape(priors.shape[0], -1, 4)


class ToodDecoding(DenseDecoding):
    """TOOD: scores are probabilities, and boxes are decoded up to the stride."""

    methods: ClassVar = dict(DenseDecoding.methods, _predict_by_feat_single='TOODHead')
    clips = False

    def probabilities(self, logits: Tensor) -> Tensor:
        return logits

    def num_regs(self) -> int:
        return 4

    def decode(self, deltas: Tensor, priors: Tensor, level: int) -> Tensor:
        return deltas * self.head.prior_generator.strides[level][0]


class YoloxDecoding(DenseDecoding):
    """YOLOX: one class of each position, all positions together."""

    methods: ClassVar = {'predict_by_feat': 'YOLOXHead', '_bbox_post_process': 'YOLOXHead'}
    clips = False
    _limit = None

    def prior_options(self) -> dict[str, Any]:
        return dict(with_stride=True)

    def level(
        self, index: int, cls: Tensor, bbox: Tensor, quality: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        scores, labels = flatten(cls, self.head.cls_out_channels).sigmoid().max(-1)
        scores = scores * flatten(quality, 1)[..., 0].sigmoid()
        valid = scores >= self.cfg.score_thr
        scores = torch.where(valid, scores, torch.full_like(scores, INVALID))
        position = torch.ones_like(labels[:1]).cumsum(1) - 1
        priors = self.priors[index](position, bbox.shape[-1])
        return self.head._bbox_decode(priors[0], flatten(bbox, 4)), scores, labels


def flatten(x: Tensor, channels: int) -> Tensor:
    """A map (B, A * D, H, W) as (B, H * W * A, D), in the order of the priors."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, channels)


def clip(boxes: Tensor, image: Tensor) -> Tensor:
    """Corners (B, M, 4) inside of an image (B, C, H, W)."""
    height, width = torch._shape_as_tensor(image)[2:].to(boxes)
    border = torch.stack([width, height, width, height])
    return torch.minimum(boxes.clamp(min=0), border)


DECODINGS: tuple[type[DenseDecoding], ...] = (
    YoloxDecoding,
    GflDecoding,
    ToodDecoding,
    DenseDecoding,
)


def require_decoding(detector: nn.Module) -> type[DenseDecoding]:
    """The class that decodes what the head of a detector gives.

    Raises:
        QuantizationError: If there is none; names the head.
    """
    head = getattr(detector, find_family(detector)[2])
    for kind in DECODINGS:
        if kind.accepts(head):
            Suppression.from_config(head.test_cfg)
            return kind
    raise QuantizationError(
        f'--end-to-end: the decoding of {type(head).__name__} is not written in ONNX operators: '
        'leave the option out, and decode the head outputs of the file as the detector does'
    )


def decoding_of(detector: nn.Module, structure: Any, pad: bool) -> DenseDecoding:
    """The decoding of a detector, see ``DenseDecoding``."""
    head = getattr(detector, find_family(detector)[2])
    return require_decoding(detector)(head, structure, pad).eval()


def _owner(head: nn.Module, method: str) -> str | None:
    """Name of the class that a method comes from."""
    return next((base.__name__ for base in type(head).__mro__ if method in vars(base)), None)
