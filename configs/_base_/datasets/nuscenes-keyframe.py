# One keyframe of nuScenes in mmdet3d's own format, for configs that replace the loaders of a stock
# nuScenes config. It comes without its sweeps: the stock pipeline repeats the keyframe instead.
# MMPTQ_DATA names the folder that holds nuscenes_keyframe/; without it, ./data does.
keyframe_dataset = dict(
    type='NuScenesDataset',
    data_root='{{$MMPTQ_DATA:data}}/nuscenes_keyframe/',
    ann_file='n015-2018-07-24-11-22-45+0800.pkl',
    data_prefix=dict(pts='', img='', sweeps=''),
    modality=dict(use_lidar=True, use_camera=False),
    box_type_3d='LiDAR',
    test_mode=True,
)
keyframe_dataloader = dict(
    batch_size=1,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
)
# The stock metric needs the tables of the whole data set.
keyframe_evaluator = dict(
    type='RotatedIoU3DMetric', iou_thr=0.5, point_cloud_range=[-51.2, -51.2, -5.0, 51.2, 51.2, 3.0]
)
