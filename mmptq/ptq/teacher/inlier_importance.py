"""InlierQ's weights of errors: only the positions count that the detections depend on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine.logging import MMLogger
from mmengine.registry import TASK_UTILS
from torch import Tensor

from mmptq.ptq import parallel
from mmptq.utils.errors import QuantizationError

from .gradients import Gradients
from .importance import Importance
from .mixture import Mixture, condense, fit_mixture
from .volumes import Volumes, saliency

SCOPES = ('sample', 'layer')
CURVATURES = ('diagonal', 'rank_one', None)
# Shares of inliers that others saw in ordinary layers.
ORDINARY = (0.01, 0.6)

NO_GRADIENT = 'the loss does not depend on it'
VANISHED = 'its gradients are all zero'
NOT_FINITE = 'its gradients are not finite'
NO_SPLIT = 'its scores do not split'
EMPTY = 'no position would count'


@dataclass
class _Layer:
    """What is known about the volumes of one side of a module.

    Attributes:
        note (str): Why every position counts the same; '' where they do not.
        mixtures (dict[int, Mixture]): By sample.
        pooled (int): Samples of all processes that take the mixture of all samples.
        mean_weight (float): Over all volumes of all samples.
        mean_square (float): Of the gradients, over the volumes that count.
        share (float): Of the volumes that are inliers.
        iterations (float): Of EM, on average.
    """

    note: str = ''
    mixtures: dict[int, Mixture] = field(default_factory=dict)
    pooled: int = 0
    mean_weight: float = 1.0
    mean_square: float = 1.0
    share: float = 1.0
    iterations: float = 0.0


@TASK_UTILS.register_module()
class InlierImportance(Importance):
    """InlierQ: errors count at inliers, the volumes that the detections of the float model need.

    A volume is one position of a feature map: a pixel, a BEV cell, an active voxel, a token. Its
    score is ``h = sum_m |dL / dx_m|`` over the channels, with L the loss of the most confident
    responses. Two Gaussians are fitted to the scores of each layer by EM; a volume is an inlier
    where the posterior of the upper one is at least ``tau``. The error of channel m of a volume
    counts by::

        w = (1 if P(inlier | h) >= tau else anomaly_weight) * curvature_m

    divided by the mean of the first factor over the layer. The curvature is the squared gradient
    (the Fisher information stands in for the Hessian), relative to its mean g over the volumes that
    count, and tempered: ``((g_m^2 / g) ** power + floor) / (1 + floor)``.

    https://arxiv.org/abs/2602.03472

    Note:
        We know the paper by summaries; there is no code. Ours are: tau, numerics of EM, the
        tempered curvature (the squared gradients of few values outweigh all others; raw they clip
        layer inputs to a third of their range, ``power=1, floor=0``), and that volumes with a score
        of exactly zero are anomalies which EM does not see. The posterior is made monotone: a
        wider upper Gaussian would also claim the smallest scores.
        The paper's set is per layer and, to others' reading, per sample. A sample whose scores do
        not split takes the Gaussians of all samples.

    Layers that the loss does not depend on (box branches), and those whose gradients vanish or are
    not finite, count everywhere; the log names them.

    Args:
        loss (dict): Loss of head outputs. Defaults to ``dict(type='TopKConfidenceLoss')``.
        em_scope (str): 'sample' fits EM to each layer and sample, 'layer' to the scores of all
            samples. Defaults to 'sample'.
        tau (float): Posterior from which on a volume is an inlier. Defaults to 0.5.
        inlier_weight (float): Weight of inliers; 0 with ``anomaly_weight=1`` is the paper's
            ablation with anomalies alone. Defaults to 1.0.
        anomaly_weight (float): Weight of the others; 1 is no selection. Defaults to 0.0.
        soft (bool): Whether weights are between both by the posterior, without ``tau``. Defaults
            to False.
        log_scale (bool): Whether EM sees logarithms of scores. Defaults to True.
        curvature (str or dict, optional): 'diagonal', or ``dict(power=..., floor=...)`` of it;
            'rank_one' for the error projected on the gradient, which only stages can use that
            compute the error themselves (``ScaleRefiner``); None for none. Defaults to 'diagonal'.

    Example:
        >>> importance = dict(type='InlierImportance', tau=0.5, curvature=None)
    """

    def __init__(
        self,
        loss: dict[str, Any] = dict(type='TopKConfidenceLoss'),  # noqa: B006 (never changed)
        em_scope: str = 'sample',
        tau: float = 0.5,
        inlier_weight: float = 1.0,
        anomaly_weight: float = 0.0,
        soft: bool = False,
        log_scale: bool = True,
        curvature: str | Mapping[str, float] | None = 'diagonal',
    ):
        super().__init__(loss)
        options = dict(curvature) if isinstance(curvature, Mapping) else {}
        kind = 'diagonal' if options else curvature
        self.power, self.floor = options.pop('power', 0.5), options.pop('floor', 1.0)
        if em_scope not in SCOPES or kind not in CURVATURES or options:
            raise QuantizationError(
                f'InlierImportance got em_scope={em_scope!r}, curvature={curvature!r}: use one of '
                f"{', '.join(SCOPES)}, and 'diagonal', 'rank_one', None or "
                'dict(power=0.5, floor=1.0)'
            )
        weights = min(inlier_weight, anomaly_weight, self.floor)
        if not 0 < tau < 1 or weights < 0 or inlier_weight + anomaly_weight == 0 or self.power <= 0:
            raise QuantizationError(
                f'InlierImportance got tau={tau!r}, inlier_weight={inlier_weight!r}, '
                f'anomaly_weight={anomaly_weight!r}, curvature={curvature!r}: use 0 < tau < 1, '
                'weights and floor >= 0, one weight > 0, and power > 0'
            )
        self.em_scope, self.tau, self.soft, self.log_scale = em_scope, tau, soft, log_scale
        self.inlier_weight, self.anomaly_weight = inlier_weight, anomaly_weight
        self.curvature = kind
        self.projects = kind == 'rank_one'
        self._gradients: Gradients | None = None
        self._layers: dict[tuple[str, str], _Layer] = {}

    def fit(self, gradients: Gradients) -> None:
        """Fit EM to every layer, the same in all processes."""
        self._gradients = gradients
        own = gradients.modules()
        keys = sorted({key for part in parallel.gather(own) for key in part}, key=str)
        if self.projects and any(side == 'output' for _, side in keys):
            raise QuantizationError(
                "InlierImportance(curvature='rank_one') gives no weights of single errors of "
                "outputs: use curvature='diagonal' or None"
            )
        self._layers = {key: self._fit(*key) for key in keys}
        self._report()

    def weights(
        self, name: str, sample: int, call: int, side: str = 'output'
    ) -> list[Tensor | float]:
        layer = self._layers[name, side]
        tensors = self._gradients.of(name, sample, call, side)
        if layer.note:
            return [1.0] * len(tensors)
        posteriors = iter(self.posterior(name, sample, call, side))
        return [1.0 if x is None else self._weights(x, next(posteriors), layer) for x in tensors]

    def posterior(self, name: str, sample: int, call: int, side: str = 'output') -> list[Tensor]:
        """Probability of each volume to be an inlier, by tensor of a call, with one channel.

        Raises:
            KeyError: If every position of the layer counts the same, see ``report``.
        """
        mixture = self._layers[name, side].mixtures[sample]
        tensors = self._gradients.of(name, sample, call, side)
        owner = self._gradients.owners.get(name)
        return [self.posterior_of(saliency(x, owner), mixture) for x in tensors if x is not None]

    def mixture(self, name: str, sample: int, side: str = 'output') -> Mixture | None:
        """The two Gaussians of a layer on a sample; None where every position counts the same."""
        return self._layers[name, side].mixtures.get(sample)

    def report(self) -> list[dict[str, Any]]:
        return [
            dict(
                layer=name or 'network',
                side=side,
                inliers=layer.share,
                pooled_samples=layer.pooled,
                iterations=layer.iterations,
                note=layer.note and f'counts everywhere: {layer.note}',
            )
            for (name, side), layer in self._layers.items()
        ]

    def _weights(self, gradient: Tensor, posterior: Tensor, layer: _Layer) -> Tensor:
        weight = (self._volume_weights(posterior) / layer.mean_weight).to(gradient.dtype)
        if self.curvature != 'diagonal':
            return weight
        curvature = (gradient.square() / layer.mean_square) ** self.power
        return weight * (curvature + self.floor) / (1 + self.floor)

    def _volume_weights(self, posterior: Tensor) -> Tensor:
        share = posterior if self.soft else (posterior >= self.tau).to(posterior.dtype)
        return self.anomaly_weight + (self.inlier_weight - self.anomaly_weight) * share

    def posterior_of(self, scores: Tensor, mixture: Mixture) -> Tensor:
        """Posterior of scores of any shape by one of the mixtures; zeros are anomalies."""
        scaled = self.scaled(scores.reshape(1, -1).double())
        found = mixture.to(scores.device).posterior(scaled)
        return torch.where(scores > 0, found.view(scores.shape), 0.0)

    def scaled(self, scores: Tensor) -> Tensor:
        """Scores as EM sees them."""
        if not self.log_scale:
            return scores
        return scores.clamp(min=torch.finfo(torch.float64).tiny).log()

    def _fit(self, name: str, side: str) -> _Layer:
        samples = self._gradients.samples(name, side)
        volumes = [Volumes.of(self._gradients, name, sample, side) for sample in samples]
        finite = all(v.scores.isfinite().all() and v.squares.isfinite().all() for v in volumes)
        if not parallel.agree(finite):
            return _Layer(NOT_FINITE)
        if parallel.agree(all(not v.scores.any() for v in volumes)):
            known = not parallel.agree(all(not len(v.scores) for v in volumes))
            return _Layer(VANISHED if known else NO_GRADIENT)
        layer = _Layer()
        if not self._fit_mixtures(layer, samples, volumes):
            return _Layer(NO_SPLIT)
        self._measure(layer, samples, volumes)
        return _Layer(EMPTY) if layer.mean_weight == 0 else layer

    def _fit_mixtures(self, layer: _Layer, samples: list[int], volumes: list[Volumes]) -> bool:
        """Mixtures of all samples; whether there is a split."""
        bins = [condense(v.scores) for v in volumes]
        split = []
        if self.em_scope == 'sample' and bins:
            values, counts = (torch.stack(rows) for rows in zip(*bins, strict=True))
            fitted = fit_mixture(self.scaled(values), counts)
            layer.mixtures = {sample: fitted[row] for row, sample in enumerate(samples)}
            split = [sample for sample in samples if layer.mixtures[sample].valid]
        # Samples of all processes in one order, so that sums do not depend on who has them.
        rest = len(samples) - len(split)
        layer.pooled = sum(parallel.gather(rest))
        if layer.pooled:
            places = zip(parallel.shard_indices(samples), bins, strict=True)
            everywhere = [row for part in parallel.gather(list(places)) for row in part]
            rows = [row for _, row in sorted(everywhere, key=lambda item: item[0])]
            values, counts = (torch.cat(parts)[None] for parts in zip(*rows, strict=True))
            pooled = fit_mixture(self.scaled(values), counts)
            if not pooled.valid:
                return False
            layer.mixtures |= {sample: pooled for sample in samples if sample not in split}
        return True

    def _measure(self, layer: _Layer, samples: list[int], volumes: list[Volumes]) -> None:
        """Means over all samples of all processes."""
        totals = []
        for sample, found in zip(samples, volumes, strict=True):
            mixture = layer.mixtures[sample]
            posterior = self.posterior_of(found.scores, mixture)
            weight = self._volume_weights(posterior)
            inliers = posterior.sum() if self.soft else (posterior >= self.tau).sum()
            sums = (len(weight), inliers, weight.sum(), (weight * found.squares).sum())
            totals.append([*map(float, sums), float(mixture.iterations)])
        totals = torch.tensor(parallel.gather_shards(totals), dtype=torch.float64, device='cpu')
        count, inliers, weight, square = totals[:, :4].sum(0).tolist()
        layer.share, layer.mean_weight = inliers / count, weight / count
        layer.mean_square = square / weight if square > 0 else 1.0
        layer.iterations = float(totals[:, 4].mean())

    def _report(self) -> None:
        """Say which layers count everywhere, and which have an odd share of inliers."""
        logger = MMLogger.get_current_instance()
        for note in (NO_GRADIENT, VANISHED, NOT_FINITE, NO_SPLIT, EMPTY):
            found = [key for key, layer in self._layers.items() if layer.note == note]
            names = [name or 'network' for name, _ in found]
            if names:
                log = logger.info if note == NO_GRADIENT else logger.warning
                log(f'every position of these layers counts, because {note}: {", ".join(names)}')
        if all(layer.note for layer in self._layers.values()):
            logger.warning('no layer has inliers: check the checkpoint, and the loss of importance')
        odd = [
            f"'{name or 'network'}' ({layer.share:.1%})"
            for (name, _), layer in self._layers.items()
            if not layer.note and not ORDINARY[0] <= layer.share <= ORDINARY[1]
        ]
        if odd:
            logger.warning(
                f'fewer than 1 % or more than 60 % of the positions are inliers: {", ".join(odd)}; '
                'look at them with tools/analysis/plot_inliers.py, or try another tau or '
                "em_scope='layer'"
            )
