"""Write recorded scenes as the thirteen tables of the nuScenes devkit."""

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np

from mmptq.demo.camera_rig import CAMERAS
from mmptq.demo.nuscenes_cameras import View
from mmptq.demo.nuscenes_names import ATTRIBUTES, CATEGORIES
from mmptq.demo.nuscenes_recording import LIDAR_TO_EGO, LIDAR_YAW, Frame, Label

VERSION = 'v1.0-trainval'
TABLES = (
    'attribute',
    'calibrated_sensor',
    'category',
    'ego_pose',
    'instance',
    'log',
    'map',
    'sample',
    'sample_annotation',
    'sample_data',
    'scene',
    'sensor',
    'visibility',
)
_VISIBILITY = ('v0-40', 'v40-60', 'v60-80', 'v80-100')  # tokens '1' to '4'
_MAP_FILE = 'maps/demo_map.png'


def make_token(*parts: object) -> str:
    """Return a token of 32 hexadecimal digits that depends only on the parts."""
    return hashlib.md5('/'.join(map(str, parts)).encode(), usedforsecurity=False).hexdigest()


def quaternion(yaw: float) -> list[float]:
    """Return the rotation about the vertical axis by an angle in radians as w, x, y, z."""
    return [float(np.cos(yaw / 2)), 0.0, 0.0, float(np.sin(yaw / 2))]


class NuScenesTables:
    """Collect scenes and writes the tables.

    Args:
        seed (int): Distinguishes the tokens of different data sets.
        cameras (bool): Whether the vehicle has cameras. Defaults to False.
    """

    def __init__(self, seed: int, cameras: bool = False) -> None:
        self.seed = seed
        self.tables: dict[str, list[dict]] = {name: [] for name in TABLES}
        for name in CATEGORIES:
            row = dict(token=self.token('category', name), name=name, description='')
            self.tables['category'].append(row)
        for name in ATTRIBUTES:
            row = dict(token=self.token('attribute', name), name=name, description='')
            self.tables['attribute'].append(row)
        for number, level in enumerate(_VISIBILITY, start=1):
            row = dict(token=str(number), level=level, description='share of unblocked laser rays')
            self.tables['visibility'].append(row)
        sensor = dict(token=self.token('sensor'), channel='LIDAR_TOP', modality='lidar')
        self.tables['sensor'].append(sensor)
        for camera in CAMERAS if cameras else ():
            self._add(
                'sensor',
                token=self.token('sensor', camera.channel),
                channel=camera.channel,
                modality='camera',
            )

    def token(self, *parts: object) -> str:
        """Return the token of a record named by the parts."""
        return make_token(self.seed, *parts)

    def sample_token(self, scene: str, frame: Frame) -> str:
        """Return the token of a keyframe's sample."""
        return self.token('sample', scene, frame.timestamp)

    def sample_data_token(self, scene: str, frame: Frame) -> str:
        """Return the token of a sweep."""
        return self.token('sample_data', scene, frame.timestamp)

    def image_token(self, scene: str, frame: Frame, channel: str) -> str:
        """Return the token of the picture of a camera."""
        return self.token('sample_data', scene, frame.timestamp, channel)

    def add_scene(self, scene: str, frames: list[Frame]) -> None:
        """Add a scene.

        Args:
            scene (str): Name from the official splits, as 'scene-0001'.
            frames (list[Frame]): All sweeps in time order.
        """
        keyframes = [frame for frame in frames if frame.is_key_frame]
        log = self.token('log', scene)
        date = '2018-07-24'
        self._add(
            'log', token=log, logfile=scene, vehicle='demo', date_captured=date, location='demo'
        )
        samples = [self.sample_token(scene, frame) for frame in keyframes]
        self._add(
            'scene',
            token=self.token('scene', scene),
            log_token=log,
            nbr_samples=len(samples),
            first_sample_token=samples[0],
            last_sample_token=samples[-1],
            name=scene,
            description='generated street',
        )
        self._add(
            'calibrated_sensor',
            token=self.token('calibrated_sensor', scene),
            sensor_token=self.token('sensor'),
            translation=LIDAR_TO_EGO[:3, 3].tolist(),
            rotation=quaternion(LIDAR_YAW),
            camera_intrinsic=[],
        )
        for index, frame in enumerate(keyframes):
            self._add(
                'sample',
                token=samples[index],
                timestamp=frame.timestamp,
                scene_token=self.token('scene', scene),
                **_neighbours(samples, index),
            )
        self._add_sweeps(scene, frames)
        self._add_images(scene, keyframes)
        self._add_labels(scene, keyframes)

    def _add(self, table: str, **row: object) -> None:
        self.tables[table].append(row)

    def _add_sweeps(self, scene: str, frames: list[Frame]) -> None:
        """A sweep belongs to the keyframe that follows it."""
        tokens = [self.sample_data_token(scene, frame) for frame in frames]
        sample = ''
        rows = []
        for index in reversed(range(len(frames))):
            frame = frames[index]
            if frame.is_key_frame:
                sample = self.sample_token(scene, frame)
            rows.append(
                dict(
                    token=tokens[index],
                    sample_token=sample,
                    ego_pose_token=tokens[index],
                    calibrated_sensor_token=self.token('calibrated_sensor', scene),
                    timestamp=frame.timestamp,
                    fileformat='pcd',
                    is_key_frame=frame.is_key_frame,
                    height=0,
                    width=0,
                    filename=frame.filename,
                    **_neighbours(tokens, index),
                )
            )
        self.tables['sample_data'] += rows[::-1]
        for token, frame in zip(tokens, frames, strict=True):
            self._add_pose(token, frame)

    def _add_images(self, scene: str, keyframes: list[Frame]) -> None:
        """Add the pictures, one chain per camera, with the calibration of each camera."""
        for views in zip(*(frame.views for frame in keyframes), strict=True):
            camera = views[0].camera
            calibration = self.token('calibrated_sensor', scene, camera.channel)
            self._add(
                'calibrated_sensor',
                token=calibration,
                sensor_token=self.token('sensor', camera.channel),
                translation=list(camera.position),
                rotation=camera.rotation,
                camera_intrinsic=views[0].intrinsic.tolist(),
            )
            tokens = [self.image_token(scene, frame, camera.channel) for frame in keyframes]
            for index, (frame, view) in enumerate(zip(keyframes, views, strict=True)):
                self._add_pose(tokens[index], frame)
                self._add(
                    'sample_data',
                    **_image_row(tokens[index], self.sample_token(scene, frame), frame, view),
                    calibrated_sensor_token=calibration,
                    **_neighbours(tokens, index),
                )

    def _add_pose(self, token: str, frame: Frame) -> None:
        self._add(
            'ego_pose',
            token=token,
            timestamp=frame.timestamp,
            rotation=quaternion(frame.yaw),
            translation=frame.position.tolist(),
        )

    def _add_labels(self, scene: str, keyframes: list[Frame]) -> None:
        tracks: dict[int, list[tuple[Frame, Label]]] = {}
        for frame in keyframes:
            for label in frame.labels:
                tracks.setdefault(label.actor, []).append((frame, label))
        for actor, track in sorted(tracks.items()):
            instance = self.token('instance', scene, actor)
            tokens = [self.token('annotation', scene, actor, frame.timestamp) for frame, _ in track]
            category = self.token('category', track[0][1].category)
            self._add(
                'instance',
                token=instance,
                category_token=category,
                nbr_annotations=len(track),
                first_annotation_token=tokens[0],
                last_annotation_token=tokens[-1],
            )
            for index, (frame, label) in enumerate(track):
                row = self._annotation(label) | _neighbours(tokens, index)
                self._add(
                    'sample_annotation',
                    token=tokens[index],
                    instance_token=instance,
                    sample_token=self.sample_token(scene, frame),
                    **row,
                )

    def _annotation(self, label: Label) -> dict:
        length, width, height = label.size
        attributes = [self.token('attribute', label.attribute)] if label.attribute else []
        level = np.searchsorted([0.4, 0.6, 0.8], label.visibility, side='right')
        return dict(
            visibility_token=str(1 + int(level)),
            attribute_tokens=attributes,
            translation=label.centre.tolist(),
            size=[width, length, height],
            rotation=quaternion(label.yaw),
            num_lidar_pts=label.points,
            num_radar_pts=0,
        )

    def write(self, folder: Path) -> None:
        """Write all tables and the map image that the devkit requires.

        Args:
            folder (Path): Root of the data set.

        Raises:
            OSError: If a file cannot be written.
        """
        logs = [row['token'] for row in self.tables['log']]
        self.tables['map'] = [
            dict(
                token=self.token('map'),
                log_tokens=logs,
                category='semantic_prior',
                filename=_MAP_FILE,
            )
        ]
        (folder / 'maps').mkdir()
        # An empty mask, because the streets have no map prior.
        if not cv2.imwrite(str(folder / _MAP_FILE), np.zeros((16, 16), np.uint8)):
            raise OSError(f"cannot write '{folder / _MAP_FILE}': is the disk full?")
        (folder / VERSION).mkdir()
        for name, rows in self.tables.items():
            (folder / VERSION / f'{name}.json').write_text(json.dumps(rows))


def _image_row(token: str, sample: str, frame: Frame, view: View) -> dict:
    return dict(
        token=token,
        sample_token=sample,
        ego_pose_token=token,
        timestamp=frame.timestamp,
        fileformat='jpg',
        is_key_frame=True,
        height=view.height,
        width=view.width,
        filename=view.filename,
    )


def _neighbours(tokens: list[str], index: int) -> dict[str, str]:
    return dict(
        prev=tokens[index - 1] if index else '',
        next=tokens[index + 1] if index + 1 < len(tokens) else '',
    )
