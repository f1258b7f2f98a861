"""Cluttered backgrounds and camera defects of the demo images."""

import cv2
import numpy as np

from mmptq.demo.drawing import random_colours
from mmptq.demo.textures import smooth_noise


def cluttered_background(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Return a background of smooth noise with patches, blobs and lines.

    Args:
        rng (np.random.Generator): Source of randomness.
        width, height (int): Pixels.

    Returns:
        np.ndarray: (height, width, 3) float32, BGR 0-255.
    """
    first, second = random_colours(rng)
    mix = 0.5 + 0.5 * smooth_noise(rng, height, width, octaves=5)
    image = first * (1 - mix) + second * mix
    image += 25 * smooth_noise(rng, height, width, octaves=3, channels=3)
    scale = min(width, height)
    for _ in range(rng.integers(8, 30)):
        _draw_patch(rng, image, scale)
    return np.clip(image, 0, 255)


def _draw_patch(rng: np.random.Generator, image: np.ndarray, scale: int) -> None:
    """Blend one random polygon, ellipse or line into the image."""
    height, width = image.shape[:2]
    centre = rng.uniform([0, 0], [width, height])
    size = scale * np.exp(rng.uniform(np.log(0.03), np.log(0.4)))
    layer = np.zeros((height, width), np.uint8)
    kind = rng.integers(3)
    if kind == 0:
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 8)))
        radii = size * rng.uniform(0.3, 1.0, len(angles))
        points = centre + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        cv2.fillPoly(layer, [points.astype(np.int32)], 255, cv2.LINE_AA)
    elif kind == 1:
        axes = [max(int(axis), 1) for axis in size * rng.uniform(0.1, 0.8, 2)]
        start = int(rng.uniform(0, 360))
        sweep = int(rng.uniform(60, 300))
        position = tuple(int(value) for value in centre)
        cv2.ellipse(layer, position, axes, start, 0, sweep, 255, -1, cv2.LINE_AA)
    else:
        offset = 2 * size * rng.uniform(-1, 1, 2)
        ends = [tuple(int(value) for value in point) for point in (centre, centre + offset)]
        cv2.line(layer, *ends, 255, int(rng.integers(1, 5)), cv2.LINE_AA)
    opacity = rng.uniform(0.3, 0.9) * layer[..., None].astype(np.float32) / 255
    image += opacity * (rng.uniform(0, 255, 3).astype(np.float32) - image)


def degrade(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Apply exposure, colour cast, blur and noise, each of random strength.

    Args:
        rng (np.random.Generator): Source of randomness.
        image (np.ndarray): (h, w, 3) float32, BGR 0-255.

    Returns:
        np.ndarray: (h, w, 3) uint8.
    """
    gain = np.exp(rng.uniform(-0.6, 0.3)) * np.exp(rng.uniform(-0.1, 0.1, 3))
    image = 255 * (np.clip(image * gain, 0, 255) / 255) ** np.exp(rng.uniform(-0.3, 0.3))
    image = image.astype(np.float32)
    if rng.random() < 0.5:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.4))
    elif rng.random() < 0.3:
        length = int(rng.integers(3, 8))
        kernel = np.full((1, length), 1 / length, np.float32)
        image = cv2.filter2D(image, -1, kernel if rng.random() < 0.5 else kernel.T)
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    image = image + rng.uniform(1, 10) * noise
    return np.clip(np.round(image), 0, 255).astype(np.uint8)
