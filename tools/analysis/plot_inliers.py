"""Shows which positions of a layer's input InlierQ counts, and what they do to its range.

python tools/analysis/plot_inliers.py CONFIG CHECKPOINT SAMPLE --layer NAME [--out inliers.png]

CONFIG and CHECKPOINT are those of the float model; SAMPLE is an image or a scan, or the number of a
sample of the test data. The figure (needs matplotlib: pip install mmptq[plot]) has the probability
of each position to be an inlier, over the image or from above, with the detections; the scores of
all positions with the two Gaussians that EM found; the values that enter the layer at inliers and
elsewhere, with the ranges of 4 bits that min-max, mse and InlierQ choose on this sample. Options of
InlierImportance follow --importance, like tau=0.9 loss.k=100.
"""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from inlier_picture import InlierView, draw_inliers
from mmengine.config import Config, DictAction
from mmengine.registry import MODELS, TASK_UTILS
from torch import Tensor, nn

import mmptq  # noqa: F401  (checks the environment and registers the components)
from mmptq.adapters import Adapter, build_adapter
from mmptq.engine.build import load_model
from mmptq.engine.sample_reader import read_sample
from mmptq.ptq import ActivationCache, InlierImportance
from mmptq.ptq.build import build_component
from mmptq.ptq.inputs.model_inputs import prepare_batch
from mmptq.ptq.search.range_refinement import RefinementSettings, describe, refine
from mmptq.ptq.search.recorded_rows import Rows
from mmptq.ptq.teacher.gradients import Gradients, collect_gradients
from mmptq.ptq.teacher.teacher_outputs import TeacherOutputs
from mmptq.ptq.teacher.volumes import channel_axis, rows_of, saliency
from mmptq.quantization import FakeQuantizer, QScheme, QuantizationError
from mmptq.report.bev import box_outlines
from mmptq.utils.cli import load_config, make_parser, require_file
from mmptq.utils.hooks import temporary_hooks
from mmptq.utils.trees import flatten

SCHEME = QScheme(bits=4)
OBSERVERS = {'min-max': dict(type='MinMaxObserver'), 'mse': dict(type='LpObserver', p=2.0)}
BUDGET = 2**30
DRAWN_VALUES = 200_000


@dataclass
class LayerInput:
    """What enters a layer in one call.

    Attributes:
        x (Tensor): Values; features (N, C) of a sparse tensor.
        gradient (Tensor): Of the same shape.
        sites (Tensor, optional): (N, D) indices of a sparse tensor, the sample first.
        shape (tuple[int], optional): Its spatial shape.
    """

    x: Tensor
    gradient: Tensor
    sites: Tensor | None = None
    shape: tuple[int, ...] | None = None


def parse_args():
    parser = make_parser(__doc__)
    parser.add_argument('checkpoint', help='float checkpoint')
    parser.add_argument('sample', help='image or scan, or number of a test sample')
    parser.add_argument('--layer', required=True, help='name of a layer, as the coverage lists it')
    parser.add_argument('--call', type=int, default=0, help='of a layer that runs several times')
    parser.add_argument('--score-thr', type=float, default=0.3, help='lowest score that is drawn')
    parser.add_argument('--out', default='inliers.png', help='the figure')
    parser.add_argument('--importance', nargs='+', action=DictAction, default={})
    return parser.parse_args()


def fit(
    args: Any, model: nn.Module, adapter: Adapter, data: dict[str, Any], layer: nn.Module
) -> tuple[InlierImportance, LayerInput, Tensor]:
    """The importance fitted to one sample, what enters the layer, and its weights."""
    options = Config(dict(type='InlierImportance', loss=dict(type='TopKConfidenceLoss')))
    options.merge_from_dict(args.importance)
    importance = build_component(options.to_dict(), '--importance', TASK_UTILS, InlierImportance)
    loss = MODELS.build(importance.loss)
    seen: list[tuple] = []

    def note(_, arguments, kwargs):
        seen.append((arguments, kwargs))

    with tempfile.TemporaryDirectory() as folder:
        samples = ActivationCache(BUDGET, folder)
        samples.append(data, exact=True)
        gradients = Gradients(BUDGET, folder)
        with TeacherOutputs(model, adapter, loss, samples, BUDGET, required=True) as teacher:
            collect_gradients(teacher, {args.layer: layer}, gradients, ('input',))
            importance.fit(gradients)
            with torch.no_grad(), temporary_hooks({layer: note}, with_kwargs=True):
                teacher.raw_outputs(0)
        if args.call >= len(seen):
            raise QuantizationError(
                f"'{args.layer}' has no call {args.call}: it ran {len(seen)} times on this sample"
            )
        (row,) = importance.report()
        if row['note']:
            raise QuantizationError(f"'{args.layer}' {row['note']}: name another layer")
        weight = importance.weights(args.layer, 0, args.call, 'input')[0]
        gradient = gradients.of(args.layer, 0, args.call, 'input')[0]
    return importance, layer_input(seen[args.call], gradient), weight


def layer_input(call: tuple, gradient: Tensor) -> LayerInput:
    """The first tensor of a call, dense or sparse."""
    tree = call[0][0] if call[0] else next(iter(call[1].values()))
    x = flatten(tree)[0][0]
    if hasattr(tree, 'indices') and hasattr(tree, 'spatial_shape'):
        return LayerInput(x, gradient, tree.indices, tuple(tree.spatial_shape))
    return LayerInput(x, gradient)


def as_map(values: Tensor, found: LayerInput, layer: nn.Module) -> np.ndarray:
    """One value per position as (H, W); the largest over the height of sparse voxels.

    Raises:
        QuantizationError: If positions are no map.
    """
    if found.sites is not None:
        grid = np.full(found.shape[-2:], np.nan)
        rows, columns = found.sites[:, -2:].T.cpu().numpy()
        np.fmax.at(grid, (rows, columns), values.flatten().cpu().numpy())
        return grid
    if found.x.dim() != 4:
        raise QuantizationError(
            f'the input of the layer has shape {tuple(found.x.shape)}, which is no map: name a '
            'convolution'
        )
    return values.select(channel_axis(found.x, layer), 0)[0].cpu().numpy()


def ranges(x: Tensor, weight: Tensor) -> dict[str, tuple[float, float]]:
    """The range of 4 bits by method, for rows (N, C)."""
    result, quantizer = {}, FakeQuantizer(SCHEME)
    for name, cfg in OBSERVERS.items():
        observer = TASK_UTILS.build(dict(cfg, scheme=SCHEME))
        observer.update(x)
        quantizer.set_qparams(*observer.qparams())
        result[name] = tuple(describe(quantizer).values())
    refine(quantizer, [Rows(x, weight)], RefinementSettings(num_iters=20, lr=0.01))
    return result | {'InlierQ': tuple(describe(quantizer).values())}


def scene(
    model: nn.Module, adapter: Adapter, data: dict[str, Any], posterior: np.ndarray, thr: float
) -> dict[str, Any]:
    """Map, its extent, detections, and the image or the points."""
    with torch.no_grad():
        (found,) = adapter.decode(adapter.raw_outputs(data), data)
    if 'pred_instances_3d' in found and 'points' in data['inputs']:
        boxes = found.pred_instances_3d
        boxes = boxes[boxes.scores_3d >= thr].bboxes_3d.tensor.cpu().numpy()
        low_x, low_y, _, high_x, high_y, _ = point_cloud_range(model)
        # From above: x (forward) points up, y (left) points left.
        return dict(
            posterior=posterior.T[:, ::-1],
            extent=(high_y, low_y, low_x, high_x),
            outlines=[outline[:, ::-1] for outline in box_outlines(boxes)[0]],
            points=data['inputs']['points'][0][:, [1, 0]].cpu().numpy(),
        )
    image = data['inputs'] if isinstance(data['inputs'], Tensor) else data['inputs']['imgs']
    image = image[0].permute(1, 2, 0).cpu().numpy()
    if not getattr(model.data_preprocessor, '_channel_conversion', False):
        image = image[..., ::-1]  # blue comes first
    low, high = image.min(), image.max()
    height, width = image.shape[:2]
    return dict(
        posterior=posterior,
        extent=(0, width, height, 0),
        outlines=image_outlines(found, thr),
        image=(image - low) / max(high - low, 1e-6),
    )


def image_outlines(found: Any, thr: float) -> list[np.ndarray]:
    """Corners of 2D boxes in pixels of the network's input; lanes are not drawn."""
    if 'pred_instances' not in found or 'bboxes' not in found.pred_instances:
        return []
    boxes = found.pred_instances
    boxes = boxes[boxes.scores >= thr].bboxes.cpu().numpy()
    boxes = boxes * np.tile(found.metainfo.get('scale_factor', (1.0, 1.0)), 2)
    return [box[[[0, 1], [2, 1], [2, 3], [0, 3]]] for box in boxes]


def point_cloud_range(model: nn.Module) -> list[float]:
    """What the voxels of the model cover."""
    layers = (getattr(m, 'point_cloud_range', None) for m in model.data_preprocessor.modules())
    found = [x for x in layers if x is not None]
    return [float(end) for end in found[0]]


def view_of(args: Any) -> InlierView:
    """Everything that the figure shows."""
    cfg = load_config(args)
    require_file(args.checkpoint, 'checkpoint')
    model = load_model(cfg, args.checkpoint, quantized=False)
    layers = dict(model.named_modules())
    if args.layer not in layers or not hasattr(layers[args.layer], 'weight'):
        names = [name for name, m in layers.items() if getattr(m, 'weight', None) is not None]
        raise QuantizationError(
            f"'{args.layer}' is no layer with weights: use one of {', '.join(names[:40])} ..."
        )
    adapter = build_adapter(model)
    data = prepare_batch(model, read_sample(cfg, args.sample))
    layer = layers[args.layer]
    importance, found, weight = fit(args, model, adapter, data, layer)
    mixture = importance.mixture(args.layer, 0, 'input')
    scores = saliency(found.gradient, layer)
    scaled = importance.scaled(scores.flatten()[scores.flatten() > 0].double()).cpu()
    posterior = importance.posterior_of(scores, mixture)
    inlier = rows_of(posterior, layer)[:, 0] >= importance.tau
    x = rows_of(found.x, layer)
    shown = scene(model, adapter, data, as_map(posterior, found, layer), args.score_thr)
    share = float(inlier.double().mean())
    return InlierView(
        title=f'input of {args.layer}, {Path(args.sample).name}: {share:.1%} inliers',
        scores=scaled.numpy(),
        density=lambda s: mixture.density(torch.from_numpy(s)[None])[0].numpy(),
        inliers=drawn(x[inlier]),
        anomalies=drawn(x[~inlier]),
        ranges=ranges(x, rows_of(weight, layer)),
        score_label='log of the L1 norm of the gradient' if importance.log_scale else 'L1 norm',
        **shown,
    )


def drawn(values: Tensor) -> np.ndarray:
    """Values for a histogram, evenly thinned out where they are many."""
    values = values.flatten().cpu()
    return values[:: max(1, len(values) // DRAWN_VALUES)].numpy()


def main() -> None:
    args = parse_args()
    try:
        view = view_of(args)
        draw_inliers(view, args.out)
    except (QuantizationError, OSError, ImportError) as error:
        sys.exit(f'error: {error}')
    kept = ', '.join(f'{name} {low:.2f} to {high:.2f}' for name, (low, high) in view.ranges.items())
    print(f'{args.out}: {view.title}; ranges: {kept}')


if __name__ == '__main__':
    main()
