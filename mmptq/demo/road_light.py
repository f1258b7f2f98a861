"""Sky, skyline and light of a road scene: day, low sun and night."""

import cv2
import numpy as np

from mmptq.demo.road_view import RoadView


def paint_sky(rng: np.random.Generator, view: RoadView) -> np.ndarray:
    """Return an image with sky, trees and houses above the horizon and zeros below.

    Args:
        rng (np.random.Generator): Source of randomness.
        view (RoadView): The camera.

    Returns:
        np.ndarray: (height, width, 3) float32, BGR 0-255.
    """
    image = np.zeros((view.height, view.width, 3), np.float32)
    bright, blue = rng.uniform(150, 225), rng.uniform(0, 40)
    zenith = np.array([bright + blue, bright, bright - blue])
    haze = np.full(3, rng.uniform(185, 235))
    share = np.linspace(0, 1, view.top, dtype=np.float32)[:, None, None]
    image[: view.top] = zenith * (1 - share) + haze * share
    for _ in range(rng.integers(3, 12)):
        left = rng.uniform(-0.1, 1) * view.width
        width = rng.uniform(0.03, 0.16) * view.width
        top = view.horizon - rng.uniform(0.05, 0.9) * view.horizon
        colour = rng.uniform(70, 190) + rng.normal(0, 5, 3)
        image[max(int(top), 0) : view.top, max(int(left), 0) : max(int(left + width), 0)] = colour
    knots = rng.uniform(0.02, 0.35, 24).astype(np.float32)
    outline = cv2.resize(knots[None], (view.width, 1), interpolation=cv2.INTER_CUBIC)[0]
    rough = rng.normal(0, 0.015, view.width)
    heights = view.horizon * np.clip(outline + rough, 0, 0.6) * rng.uniform(0.2, 1.2)
    trees = np.arange(view.top)[:, None] > view.horizon - heights
    image[: view.top][trees] = np.array([45, 75, 60]) * rng.uniform(0.5, 1.3)
    return image


def dazzle(rng: np.random.Generator, image: np.ndarray, view: RoadView) -> np.ndarray:
    """Add a low sun or its reflection on the road, which overexpose their surroundings.

    Args:
        rng (np.random.Generator): Source of randomness.
        image (np.ndarray): (height, width, 3) float32, BGR 0-255.
        view (RoadView): The camera.

    Returns:
        np.ndarray: (height, width, 3) float32, above 255 in overexposed pixels.
    """
    x, y = rng.uniform(0.1, 0.9) * view.width, view.horizon * rng.uniform(0.4, 1.05)
    reach = rng.uniform(0.12, 0.35) * view.width
    light = 0.5 * _blob(view, (x, y), (reach, reach))
    light += rng.uniform(0.3, 0.8) * _blob(view, (x, y), (0.3 * reach, 0.3 * reach))
    stripe = (x, view.horizon + rng.uniform(0.3, 0.9) * (view.height - view.horizon))
    light += rng.uniform(0.2, 0.7) * _blob(view, stripe, (0.4 * reach, 0.5 * view.height))
    tint = np.array([0.85, 0.95, 1.0], np.float32)
    veil = np.float32(rng.uniform(0.05, 0.25))
    return image * (1 - veil) + 255 * tint * (veil * np.float32(0.7) + light[..., None])


def darken(
    rng: np.random.Generator, image: np.ndarray, view: RoadView, lamps: list[np.ndarray]
) -> np.ndarray:
    """Turn day into night with headlights, lit lamps and some street light.

    Args:
        rng (np.random.Generator): Source of randomness.
        image (np.ndarray): (height, width, 3) float32, BGR 0-255.
        view (RoadView): The camera.
        lamps (list[np.ndarray]): (2,) pixels each, lamps of vehicles.

    Returns:
        np.ndarray: (height, width, 3) float32.
    """
    gain = np.full((view.height, view.width), rng.uniform(0.2, 0.4), np.float32)
    gain[: view.top] *= rng.uniform(0.15, 0.6)
    cone = np.exp(-(((view.distances - 7) / rng.uniform(10, 22)) ** 2))
    columns = np.arange(view.width, dtype=np.float32) - view.width / 2
    across = columns * view.footprints / (2.2 + 0.22 * view.distances)
    gain[view.top :] += np.float32(rng.uniform(0.5, 0.9)) * cone * np.exp(-(across**2))
    tint = np.array([rng.uniform(0.55, 0.95), rng.uniform(0.85, 1.0), 1.0], np.float32)
    image = image * gain[..., None] * tint
    spots = [(lamp, 0.8) for lamp in lamps]
    for _ in range(rng.integers(0, 8)):
        place = rng.uniform([0, 0.1 * view.horizon], [view.width, view.horizon])
        spots.append((place, rng.uniform(0.3, 1.0)))
    for place, strength in spots:
        reach = view.width * rng.uniform(0.004, 0.012)
        _add_spot(image, place, reach, 255 * strength * tint)
    return image


def _blob(view: RoadView, centre: tuple[float, float], reach: tuple[float, float]) -> np.ndarray:
    """(height, width) float32, a Gaussian with maximum 1."""
    x = (np.arange(view.width, dtype=np.float32) - centre[0]) / reach[0]
    y = (np.arange(view.height, dtype=np.float32) - centre[1]) / reach[1]
    return np.exp(-(y**2))[:, None].astype(np.float32) * np.exp(-(x**2)).astype(np.float32)


def _add_spot(image: np.ndarray, centre: np.ndarray, reach: float, colour: np.ndarray) -> None:
    """Add a small Gaussian spot of light, in place."""
    half = int(3 * reach) + 1
    column, row = (int(value) for value in np.clip(centre, -1e6, 1e6))
    rows = slice(max(row - half, 0), max(row + half + 1, 0))
    columns = slice(max(column - half, 0), max(column + half + 1, 0))
    part = image[rows, columns]
    y = np.arange(rows.start, rows.start + part.shape[0]) - centre[1]
    x = np.arange(columns.start, columns.start + part.shape[1]) - centre[0]
    bell = np.exp(-((y / reach) ** 2))[:, None] * np.exp(-((x / reach) ** 2))
    part += bell[..., None].astype(np.float32) * colour
