"""Write recorded scenes as info files of mmdet3d 1.x (format version 1.1)."""

import pickle
from pathlib import Path

import numpy as np

from mmptq.demo.nuscenes_images import image_info, image_instances
from mmptq.demo.nuscenes_recording import (
    LIDAR_TO_EGO,
    LIDAR_YAW,
    SWEEPS_PER_KEYFRAME,
    Frame,
    Label,
)
from mmptq.demo.nuscenes_tables import VERSION, NuScenesTables

CLASSES = (
    'car',
    'truck',
    'trailer',
    'bus',
    'construction_vehicle',
    'bicycle',
    'motorcycle',
    'pedestrian',
    'traffic_cone',
    'barrier',
)


class NuScenesInfos:
    """Collect the keyframes of one split.

    Args:
        tables (NuScenesTables): Provides the tokens.
    """

    def __init__(self, tables: NuScenesTables) -> None:
        self.tables = tables
        self.data_list: list[dict] = []

    def add_scene(self, scene: str, frames: list[Frame]) -> None:
        """Add the keyframes of a scene.

        Args:
            scene (str): Scene name.
            frames (list[Frame]): All sweeps in time order, ten before each keyframe.
        """
        for index, frame in enumerate(frames):
            if frame.is_key_frame:
                earlier = frames[index - SWEEPS_PER_KEYFRAME : index][::-1]
                info = dict(
                    sample_idx=len(self.data_list),
                    token=self.tables.sample_token(scene, frame),
                    timestamp=frame.timestamp / 1e6,
                    ego2global=frame.ego_to_global.tolist(),
                    lidar_points=dict(
                        num_pts_feats=5,
                        lidar_path=Path(frame.filename).name,
                        lidar2ego=LIDAR_TO_EGO.tolist(),
                    ),
                    lidar_sweeps=[self._sweep(scene, sweep, frame) for sweep in earlier],
                    images={},
                    instances=[_instance(label, frame) for label in frame.labels],
                )
                if frame.views:
                    self._add_images(info, scene, frame)
                self.data_list.append(info)

    def _add_images(self, info: dict, scene: str, frame: Frame) -> None:
        """Add what the cameras see; a keyframe without cameras keeps an empty entry."""
        info['cam_instances'] = {}
        for view in frame.views:
            channel = view.camera.channel
            token = self.tables.image_token(scene, frame, channel)
            info['images'][channel] = image_info(view, frame, token)
            info['cam_instances'][channel] = image_instances(view, frame, CLASSES)

    def _sweep(self, scene: str, sweep: Frame, keyframe: Frame) -> dict:
        """mmdet3d names the keyframe's sensor 'lidar' and the sweep's 'sensor'."""
        lidar_to_global = keyframe.ego_to_global @ LIDAR_TO_EGO
        sensor_to_global = sweep.ego_to_global @ LIDAR_TO_EGO
        lidar_to_sensor = np.linalg.inv(sensor_to_global) @ lidar_to_global
        return dict(
            timestamp=sweep.timestamp / 1e6,
            ego2global=sweep.ego_to_global.tolist(),
            lidar_points=dict(
                lidar_path=sweep.filename,
                lidar2ego=LIDAR_TO_EGO.tolist(),
                lidar2sensor=lidar_to_sensor.astype(np.float32).tolist(),
            ),
            sample_data_token=self.tables.sample_data_token(scene, sweep),
        )

    def write(self, path: Path) -> None:
        """Write the file.

        Args:
            path (Path): Name of the pickle file.

        Raises:
            OSError: If the file cannot be written.
        """
        categories = {name: index for index, name in enumerate(CLASSES)}
        metainfo = dict(
            categories=categories, dataset='nuscenes', version=VERSION, info_version='1.1'
        )
        with path.open('wb') as file:
            pickle.dump(dict(metainfo=metainfo, data_list=self.data_list), file, protocol=4)


def _instance(label: Label, frame: Frame) -> dict:
    """One object in the sensor frame; classes that are not evaluated have index -1."""
    to_lidar = np.linalg.inv(frame.ego_to_global @ LIDAR_TO_EGO)
    centre = to_lidar[:3, :3] @ label.centre + to_lidar[:3, 3]
    yaw = label.yaw - frame.yaw - LIDAR_YAW
    yaw = (yaw + np.pi) % (2 * np.pi) - np.pi
    velocity = to_lidar[:2, :2] @ label.velocity
    known = label.detection_class in CLASSES
    index = CLASSES.index(label.detection_class) if known else -1
    return dict(
        bbox_label=index,
        bbox_3d=[*centre.tolist(), *label.size, float(yaw)],
        bbox_3d_isvalid=label.points > 0,
        bbox_label_3d=index,
        num_lidar_pts=label.points,
        num_radar_pts=0,
        velocity=velocity.tolist(),
    )
