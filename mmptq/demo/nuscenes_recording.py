"""Drive through a LiDAR scene and record sweeps and labels as nuScenes does."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mmptq.demo.lidar_scene import LIDAR_FORWARD, LIDAR_HEIGHT, LidarScene, Pose
from mmptq.demo.lidar_sensor import Sweep, scan
from mmptq.demo.nuscenes_cameras import Photographer, View

SWEEPS_PER_KEYFRAME = 10
SWEEP_PERIOD = 50_000  # microseconds: 20 Hz, so keyframes come at 2 Hz
LABEL_RANGE = 65.0  # metres from the ego vehicle
LIDAR_YAW = -np.pi / 2  # the sensor's x axis points to the right of the vehicle
LIDAR_TO_EGO = np.array(
    [[0.0, 1, 0, LIDAR_FORWARD], [-1, 0, 0, 0], [0, 0, 1, LIDAR_HEIGHT], [0, 0, 0, 1]]
)
FOLDERS = {True: 'samples/LIDAR_TOP', False: 'sweeps/LIDAR_TOP'}  # by is_key_frame


@dataclass
class Label:
    """An object in one keyframe.

    Attributes:
        actor (int): Index of the object in the scene.
        category, attribute (str): nuScenes names; the attribute may be ''.
        detection_class (str | None): Class that is evaluated, if any.
        centre (np.ndarray): (3,) global, metres.
        size (tuple[float, float, float]): Length, width, height, metres.
        yaw (float): Global heading, radians.
        points (int): Points of the keyframe's sweep inside the box.
        visibility (float): Fraction of the rays towards it that are not blocked, 0-1.
        velocity (np.ndarray): (2,) global, metres per second; NaN if unknown.
    """

    actor: int
    category: str
    attribute: str
    detection_class: str | None
    centre: np.ndarray
    size: tuple[float, float, float]
    yaw: float
    points: int
    visibility: float
    velocity: np.ndarray = field(default_factory=lambda: np.full(2, np.nan))


@dataclass
class Frame:
    """One sweep.

    Attributes:
        timestamp (int): Microseconds.
        is_key_frame (bool): Whether it has labels.
        filename (str): Path within the data set.
        position (np.ndarray): (3,) ego vehicle, global, metres.
        yaw (float): Ego vehicle, global, radians.
        labels (list[Label]): Empty unless it is a keyframe.
        views (list[View]): Pictures of the cameras; empty unless it is a keyframe with cameras.
    """

    timestamp: int
    is_key_frame: bool
    filename: str
    position: np.ndarray
    yaw: float
    labels: list[Label] = field(default_factory=list)
    views: list[View] = field(default_factory=list)

    @property
    def ego_to_global(self) -> np.ndarray:
        """(4, 4) homogeneous transform."""
        matrix = np.eye(4)
        matrix[:3, :3] = rotation(self.yaw)
        matrix[:3, 3] = self.position
        return matrix


def rotation(yaw: float) -> np.ndarray:
    """Return the (3, 3) rotation about the vertical by an angle in radians."""
    cosine, sine = np.cos(yaw), np.sin(yaw)
    return np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])


@dataclass
class Placement:
    """Pose of a street in the global frame, metres and radians."""

    origin: np.ndarray
    yaw: float

    def to_global(self, x: float, y: float, z: float) -> np.ndarray:
        """Map a point of the street frame to (3,) global metres."""
        return self.origin + rotation(self.yaw) @ np.array([x, y, z])


def count_sweeps(keyframes: int) -> int:
    """Return the number of sweeps: ten before the first keyframe and nine between two."""
    return SWEEPS_PER_KEYFRAME * keyframes + 1


def record_scene(
    rng: np.random.Generator,
    scene: LidarScene,
    folder: Path,
    keyframes: int,
    columns: int,
    start: int,
    prefix: str,
    photographer: Photographer | None = None,
) -> list[Frame]:
    """Record a scene and write its sweeps and pictures.

    Args:
        rng (np.random.Generator): Source of randomness.
        scene (LidarScene): The scene.
        folder (Path): Root of the data set; the folders for sweeps exist.
        keyframes (int): Number of labelled frames.
        columns (int): Azimuth steps per turn of the sensor.
        start (int): Timestamp of the first sweep, microseconds.
        prefix (str): First part of the file names.
        photographer (Photographer, optional): Takes the pictures of the keyframes.

    Returns:
        list[Frame]: All sweeps in time order; every tenth, from the eleventh on, is a keyframe.

    Raises:
        OSError: If a file cannot be written.
    """
    placement = Placement(np.append(rng.uniform(300, 2000, 2), 0.0), rng.uniform(-np.pi, np.pi))
    frames = []
    for index in range(count_sweeps(keyframes)):
        time = index * SWEEP_PERIOD / 1e6
        pose = scene.ego_pose(time)
        sweep = _scan_from(rng, scene, pose, time, columns)
        is_key = index > 0 and index % SWEEPS_PER_KEYFRAME == 0
        timestamp = start + index * SWEEP_PERIOD
        name = f'{FOLDERS[is_key]}/{prefix}__LIDAR_TOP__{timestamp}.pcd.bin'
        sweep.points.tofile(folder / name)
        position = placement.to_global(pose.x, pose.y, pose.z)
        frame = Frame(timestamp, is_key, name, position, pose.yaw + placement.yaw)
        if is_key:
            frame.labels = _label(scene, placement, pose, time, sweep)
            if photographer is not None:
                frame.views = photographer.take(pose, time, timestamp)
        frames.append(frame)
    _set_velocities([frame for frame in frames if frame.is_key_frame])
    return frames


def _scan_from(
    rng: np.random.Generator, scene: LidarScene, pose: Pose, time: float, columns: int
) -> Sweep:
    origin = np.array(
        [
            pose.x + LIDAR_FORWARD * np.cos(pose.yaw),
            pose.y + LIDAR_FORWARD * np.sin(pose.yaw),
            pose.z + LIDAR_HEIGHT,
        ]
    )
    solids = scene.solids(time)
    yaw = pose.yaw + LIDAR_YAW
    return scan(rng, origin, yaw, columns, scene.terrain, solids, len(scene.actors))


def _label(
    scene: LidarScene, placement: Placement, pose: Pose, time: float, sweep: Sweep
) -> list[Label]:
    """Return the labels of all objects in range at a time in seconds."""
    labels = []
    for index, ground in enumerate(scene.actor_heights(time)):
        actor = scene.actors[index]
        x, y = actor.position(time)
        if np.hypot(x - pose.x, y - pose.y) > LABEL_RANGE:
            continue
        z = ground + actor.size[2] / 2
        offset = rotation(-pose.yaw) @ np.array([x - pose.x, y - pose.y, z - pose.z])
        in_sensor = LIDAR_TO_EGO[:3, :3].T @ (offset - LIDAR_TO_EGO[:3, 3])
        turn = actor.yaw - pose.yaw - LIDAR_YAW
        labels.append(
            Label(
                index,
                actor.kind.category,
                actor.attribute,
                actor.kind.label,
                placement.to_global(x, y, z),
                actor.size,
                actor.yaw + placement.yaw,
                count_inside(sweep.points, in_sensor, actor.size, turn),
                float(sweep.visibility[index]),
            )
        )
    return labels


def count_inside(
    points: np.ndarray, centre: np.ndarray, size: tuple[float, float, float], yaw: float
) -> int:
    """Return the number of points in a box, including its surface.

    Args:
        points (np.ndarray): (N, 3 or more), metres.
        centre (np.ndarray): (3,) metres, in the frame of the points.
        size (tuple[float, float, float]): Length, width, height, metres.
        yaw (float): Heading, radians.
    """
    offset = points[:, :3].astype(float) - centre
    turned = offset @ rotation(yaw)
    return int((np.abs(turned) <= np.array(size) / 2).all(axis=1).sum())


def _set_velocities(keyframes: list[Frame]) -> None:
    """Compute velocities from the previous and next keyframes, as the devkit does."""
    tracks: dict[int, list[tuple[int, Label]]] = {}
    for frame in keyframes:
        for label in frame.labels:
            tracks.setdefault(label.actor, []).append((frame.timestamp, label))
    for track in tracks.values():
        for index, (_, label) in enumerate(track):
            before = track[max(index - 1, 0)]
            after = track[min(index + 1, len(track) - 1)]
            if before is not after:
                seconds = (after[0] - before[0]) / 1e6
                label.velocity = (after[1].centre - before[1].centre)[:2] / seconds
