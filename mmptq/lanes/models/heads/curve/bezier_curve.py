"""Bezier curves: sampling, and fitting to a lane."""

import math

import numpy as np
import torch
from torch import Tensor

FIT_POINTS = 100


def bernstein(ts: Tensor, degree: int = 3) -> Tensor:
    """Weights of the control points at points of a Bezier curve.

    Args:
        ts (Tensor): (T,) parameters along the curve, 0 to 1.
        degree (int): Number of control points minus one.

    Returns:
        Tensor: (T, degree + 1); each row sums to 1.
    """
    powers = torch.arange(degree + 1, device=ts.device)
    ways = ts.new_tensor([math.comb(degree, k) for k in range(degree + 1)])
    ts = ts[:, None]
    return ways * ts**powers * (1 - ts) ** (degree - powers)


def sample_bezier(controls: Tensor, num_points: int) -> Tensor:
    """Points of Bezier curves at evenly spaced parameters.

    Args:
        controls (Tensor): (..., degree + 1, 2) control points.
        num_points (int): Number of points T.

    Returns:
        Tensor: (..., T, 2), from the first control point to the last.
    """
    ts = torch.linspace(0, 1, num_points, dtype=controls.dtype, device=controls.device)
    return bernstein(ts, controls.shape[-2] - 1) @ controls


def fit_bezier(points: np.ndarray, degree: int = 3) -> np.ndarray:
    """Fit a Bezier curve to a lane by least squares.

    The parameter of a point is its relative distance along the lane. The lane is resampled first,
    so that two points determine a curve and the result does not depend on the density of points.

    Args:
        points (np.ndarray): (N, 2) points along the lane, at least two.
        degree (int): Number of control points minus one.

    Returns:
        np.ndarray: (degree + 1, 2) float64.
    """
    points = np.asarray(points, dtype=np.float64)
    way = np.concatenate([[0], np.linalg.norm(np.diff(points, axis=0), axis=1).cumsum()])
    places = np.linspace(0, way[-1], FIT_POINTS)
    dense = np.stack([np.interp(places, way, values) for values in points.T], axis=1)
    ts = torch.linspace(0, 1, FIT_POINTS, dtype=torch.float64, device='cpu')
    shares = bernstein(ts, degree).cpu().numpy()
    return np.linalg.lstsq(shares, dense, rcond=None)[0]
