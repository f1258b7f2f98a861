# PointPillars on the KITTI samples: the stock KITTI model, narrower, on coarser pillars.
_base_ = [
    'mmdet3d::_base_/models/pointpillars_hv_secfpn_kitti.py',
    'mmdet3d::_base_/default_runtime.py',
    '../_base_/datasets/kitti-mini.py',
]
custom_imports = dict(imports=['mmptq'], allow_failed_imports=False)

point_cloud_range = _base_.point_cloud_range
voxel_size = [0.32, 0.32, 4]
large_object_assigner = dict(
    type='Max3DIoUAssigner',
    iou_calculator=dict(type='mmdet3d.BboxOverlapsNearest3D'),
    pos_iou_thr=0.6,
    neg_iou_thr=0.45,
    min_pos_iou=0.45,
    ignore_iof_thr=-1,
)
cyclist_assigner = dict(large_object_assigner, pos_iou_thr=0.45, neg_iou_thr=0.3, min_pos_iou=0.3)

model = dict(
    data_preprocessor=dict(
        voxel_layer=dict(
            max_num_points=48,
            point_cloud_range=point_cloud_range,
            voxel_size=voxel_size,
            max_voxels=(6000, 8000),
        )
    ),
    voxel_encoder=dict(
        feat_channels=[32], voxel_size=voxel_size, point_cloud_range=point_cloud_range
    ),
    middle_encoder=dict(in_channels=32, output_shape=[128, 128]),
    backbone=dict(in_channels=32, layer_nums=[2, 3, 3], out_channels=[32, 64, 128]),
    neck=dict(in_channels=[32, 64, 128], out_channels=[64, 64, 64]),
    bbox_head=dict(
        in_channels=192,
        feat_channels=192,
        anchor_generator=dict(
            ranges=[[0, -20.48, height, 40.96, 20.48, height] for height in [-0.6, -1.78, -1.6]],
            sizes=[[1.76, 0.75, 1.74], [3.7, 1.6, 1.5], [4.7, 1.9, 2.1]],
        ),
    ),
    train_cfg=dict(assigner=[cyclist_assigner, large_object_assigner, large_object_assigner]),
    test_cfg=dict(score_thr=0.05),
)

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=60, val_interval=20)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=0.002, betas=(0.95, 0.99), weight_decay=0.01),
    clip_grad=dict(max_norm=35, norm_type=2),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=100),
    dict(
        type='CosineAnnealingLR',
        T_max=60,
        eta_min=1e-5,
        by_epoch=True,
        begin=0,
        end=60,
        convert_to_iter_based=True,
    ),
]
randomness = dict(seed=0)
load_from = '{{$MMPTQ_DATA:data}}/weights/pointpillars_kitti_mini.pth'
# The input of the first layer mixes metres over the whole range of the sensor with centimetre
# offsets and reflectance; one 8-bit scale for all of them would move points by half a metre.
ptq = dict(
    rules=[dict(role='points', weight=None, act=None, reason='first layer: raw points, float')],
    calibration=dict(num_samples=56),
)
