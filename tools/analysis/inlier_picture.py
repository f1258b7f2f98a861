"""A figure of the inliers of a layer: where they are, their scores, and what they change."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmptq.utils.errors import QuantizationError
from mmptq.utils.files import complete_file

NUM_BINS = 120
COLOURS = dict(zip(('min-max', 'mse', 'InlierQ'), ('0.3', 'C0', 'C3'), strict=True))


@dataclass
class InlierView:
    """What the figure shows, as arrays.

    Attributes:
        title (str): About the layer and the sample.
        posterior (np.ndarray): (H, W) probability of each position to be an inlier; NaN where there
            is none.
        extent (tuple): Left, right, bottom and top end of the map.
        outlines (list[np.ndarray]): (M, 2) corners of each detection, in the map's coordinates.
        scores (np.ndarray): (N,) scores above zero, on the scale that EM sees.
        density (Callable): Takes scores (M,), returns (M, 2), anomalies and inliers.
        inliers (np.ndarray): Values of the layer's input at inliers.
        anomalies (np.ndarray): At all other positions.
        ranges (dict): Lower and upper end by method.
        image (np.ndarray, optional): (H, W, 3) from 0 to 1, drawn below the map.
        points (np.ndarray, optional): (N, 2) points of a scan, in the map's coordinates.
        score_label (str): About the axis of scores.
    """

    title: str
    posterior: np.ndarray
    extent: tuple[float, float, float, float]
    outlines: list[np.ndarray]
    scores: np.ndarray
    density: Callable[[np.ndarray], np.ndarray]
    inliers: np.ndarray
    anomalies: np.ndarray
    ranges: dict[str, tuple[float, float]]
    image: np.ndarray | None = None
    points: np.ndarray | None = None
    score_label: str = 'score'
    colours: dict[str, str] = field(default_factory=lambda: COLOURS)


def draw_inliers(view: InlierView, path: str | Path) -> None:
    """Write the figure.

    Args:
        view (InlierView): What it shows.
        path (str | Path): The ending chooses the format.

    Raises:
        QuantizationError: If matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise QuantizationError(
            'the figure needs matplotlib: run `pip install mmptq[plot]`'
        ) from error
    matplotlib.use('Agg')
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(19, 5.5))
    image = _draw_map(axes[0], view)
    figure.colorbar(image, ax=axes[0], label='P(inlier)', fraction=0.046)
    _draw_scores(axes[1], view)
    _draw_values(axes[2], view)
    figure.suptitle(view.title)
    figure.tight_layout()
    with complete_file(path) as temporary:
        figure.savefig(temporary, dpi=75, format=Path(path).suffix[1:] or 'png')
    pyplot.close(figure)


def _draw_map(axes: Any, view: InlierView) -> Any:
    if view.image is not None:
        axes.imshow(view.image, extent=view.extent)
    origin = 'upper' if view.image is not None else 'lower'
    image = axes.imshow(
        np.ma.masked_invalid(view.posterior),
        extent=view.extent,
        origin=origin,
        cmap='inferno',
        vmin=0,
        vmax=1,
        alpha=0.6 if view.image is not None else 1.0,
        interpolation='nearest',
    )
    if view.points is not None:
        axes.plot(*view.points.T, ',', color='0.6', alpha=0.5)
    for outline in view.outlines:
        axes.plot(*np.concatenate((outline, outline[:1])).T, color='#30e060', linewidth=1.3)
    axes.set(xlim=view.extent[:2], ylim=view.extent[2:])
    axes.set_title(f'posterior, and {len(view.outlines)} detections')
    return image


def _draw_scores(axes: Any, view: InlierView) -> None:
    axes.hist(view.scores, NUM_BINS, density=True, color='0.75')
    line = np.linspace(view.scores.min(), view.scores.max(), 500)
    density = view.density(line)
    for values, name in zip(density.T, ('anomalies', 'inliers'), strict=True):
        axes.plot(line, values, label=name, color='C0' if name == 'anomalies' else 'C3')
    axes.plot(line, density.sum(1), '--', color='0.3', label='both')
    axes.set(xlabel=view.score_label, ylabel='density', title='scores and the two Gaussians')
    if density.max() > 50 * np.median(density.sum(1)):  # a peak would hide the rest
        axes.set(yscale='log', ylim=(density.max() * 1e-6, density.max() * 2))
    axes.legend()


def _draw_values(axes: Any, view: InlierView) -> None:
    values = np.concatenate((view.inliers, view.anomalies))
    bins = np.linspace(values.min(), values.max(), NUM_BINS)
    for part, name, colour in (
        (view.anomalies, 'anomalies', 'C0'),
        (view.inliers, 'inliers', 'C3'),
    ):
        if len(part):
            axes.hist(part, bins, density=True, alpha=0.5, color=colour, label=name)
    for name, (low, high) in view.ranges.items():
        colour = view.colours.get(name, '0.5')
        axes.axvline(high, color=colour, label=f'{name}: {low:.2f} to {high:.2f}')
        axes.axvline(low, color=colour)
    axes.set(yscale='log', xlabel='input of the layer', ylabel='density (log)')
    axes.set_title('values, and the ranges of 4 bits')
    axes.legend()
