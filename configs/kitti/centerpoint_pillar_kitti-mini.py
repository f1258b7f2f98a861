# CenterPoint with pillars on the KITTI samples: the stock architecture, narrower, one sweep.
_base_ = [
    'mmdet3d::_base_/models/centerpoint_pillar02_second_secfpn_nus.py',
    'mmdet3d::_base_/default_runtime.py',
    '../_base_/datasets/kitti-mini.py',
]
custom_imports = dict(imports=['mmptq'], allow_failed_imports=False)

point_cloud_range = _base_.point_cloud_range
voxel_size = [0.32, 0.32, 4]
post_center_range = [-5.0, -25.0, -5.0, 46.0, 25.0, 3.0]

model = dict(
    data_preprocessor=dict(
        voxel_layer=dict(
            max_num_points=48,
            point_cloud_range=point_cloud_range,
            voxel_size=voxel_size,
            max_voxels=(6000, 8000),
        )
    ),
    pts_voxel_encoder=dict(
        in_channels=4,
        feat_channels=[32],
        voxel_size=voxel_size,
        point_cloud_range=point_cloud_range,
    ),
    pts_middle_encoder=dict(in_channels=32, output_shape=(128, 128)),
    pts_backbone=dict(in_channels=32, out_channels=[32, 64, 128], layer_nums=[2, 3, 3]),
    pts_neck=dict(in_channels=[32, 64, 128], out_channels=[64, 64, 64], upsample_strides=[1, 2, 4]),
    pts_bbox_head=dict(
        in_channels=192,
        share_conv_channel=32,
        separate_head=dict(head_conv=32),
        tasks=[
            dict(num_class=1, class_names=['Cyclist']),
            dict(num_class=2, class_names=['Car', 'Van']),
        ],
        bbox_coder=dict(
            pc_range=point_cloud_range[:2],
            post_center_range=post_center_range,
            voxel_size=voxel_size[:2],
            out_size_factor=2,
            score_threshold=0.05,
            max_num=200,
        ),
    ),
    train_cfg=dict(
        pts=dict(
            grid_size=[128, 128, 1],
            voxel_size=voxel_size,
            point_cloud_range=point_cloud_range,
            out_size_factor=2,
        )
    ),
    test_cfg=dict(
        pts=dict(
            post_center_limit_range=post_center_range,
            pc_range=point_cloud_range[:2],
            voxel_size=voxel_size[:2],
            out_size_factor=2,
            score_threshold=0.05,
            pre_max_size=200,
            post_max_size=50,
            nms_thr=0.1,
        )
    ),
)

# CenterHead trains on boxes with a velocity, which the annotations of a drive have.
train_pipeline = [
    *_base_.train_pipeline[:2],
    dict(type='AppendBoxVelocity'),
    *_base_.train_pipeline[2:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
# Two thresholds: at 0.7 alone a few centimetres decide over most of the 95 objects.
val_evaluator = dict(iou_thr=[0.5, 0.7])
test_evaluator = val_evaluator

max_epochs = 80
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=max_epochs)
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
        T_max=max_epochs,
        eta_min=1e-5,
        by_epoch=True,
        begin=0,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
]
default_hooks = dict(
    logger=dict(interval=14),
    checkpoint=dict(interval=20, max_keep_ckpts=1, save_optimizer=False),
)
randomness = dict(seed=0)
# The input of the first layer mixes metres over the whole range of the sensor with centimetre
# offsets and reflectance; one 8-bit scale for all of them would move points by half a metre.
ptq = dict(
    rules=[dict(role='points', weight=None, act=None, reason='first layer: raw points, float')],
    calibration=dict(num_samples=56),
)
