"""Procedural textures for the demo images: patterns in object coordinates and smooth noise."""

import cv2
import numpy as np


def smooth_noise(
    rng: np.random.Generator, height: int, width: int, octaves: int = 4, channels: int = 1
) -> np.ndarray:
    """Return noise with more energy at coarse scales, like natural clutter.

    Args:
        rng (np.random.Generator): Source of randomness.
        height (int): Rows, pixels.
        width (int): Columns, pixels.
        octaves (int): Number of scales; each has twice the frequency and 0.6 of the amplitude.
        channels (int): Independent channels.

    Returns:
        np.ndarray: (height, width, channels) float32, about in [-1, 1].
    """
    total = np.zeros((height, width, channels), np.float32)
    amplitude = 1.0
    for octave in range(octaves):
        cells = 3 * 2**octave
        grid = rng.uniform(-1, 1, (cells, cells, channels)).astype(np.float32)
        layer = cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        total += amplitude * layer.reshape(total.shape)
        amplitude *= 0.6
    return total / 1.6


def _soft_step(wave: np.ndarray, sharpness: float = 3.0) -> np.ndarray:
    """Map [-1, 1] to [0, 1] with a short ramp, because hard steps alias on small objects."""
    return np.clip(0.5 + 0.5 * sharpness * wave, 0, 1)


def checker(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Checkerboard, two to three fields per axis."""
    frequency = np.pi * rng.uniform(1.0, 1.6)
    return _soft_step(np.sin(frequency * u) * np.sin(frequency * v), 5.0)


def stripes(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Parallel stripes along the object's own horizontal axis."""
    return _soft_step(np.sin(np.pi * rng.uniform(2.2, 3.4) * v + rng.uniform(0, np.pi)))


def dots(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Round dots on a grid."""
    frequency = np.pi * rng.uniform(2.0, 2.8)
    return _soft_step(np.cos(frequency * u) + np.cos(frequency * v) - 0.7)


def circles(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Concentric circles."""
    return _soft_step(np.sin(2 * np.pi * rng.uniform(1.2, 1.9) * np.hypot(u, v) + 1.0))


def marble(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Veined noise."""
    noise = smooth_noise(rng, *u.shape, octaves=3)[..., 0]
    return _soft_step(np.sin(np.pi * (1.5 * u + 2.0 * noise)), 1.2)


def gradient(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """A ramp from one edge to the other."""
    return np.clip(0.5 + 0.5 * v + 0.15 * u, 0, 1)


TEXTURES = {
    'checker': checker,
    'stripes': stripes,
    'dots': dots,
    'circles': circles,
    'marble': marble,
    'gradient': gradient,
}
