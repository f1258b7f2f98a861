# CenterPoint on pillars, narrow, on coarse cells: trains on one CPU core in about half an hour.
_base_ = [
    'mmdet3d::_base_/models/centerpoint_pillar02_second_secfpn_nus.py',
    '../_base_/datasets/demo_nuscenes.py',
    '../_base_/schedules/demo_lidar.py',
]

point_cloud_range = _base_.point_cloud_range
voxel_size = [0.5, 0.5, 8]
out_size_factor = 2
model = dict(
    data_preprocessor=dict(
        voxel_layer=dict(
            max_num_points=10,
            point_cloud_range=point_cloud_range,
            voxel_size=voxel_size,
            max_voxels=(10000, 10000),
        )
    ),
    pts_voxel_encoder=dict(
        feat_channels=[32], voxel_size=voxel_size, point_cloud_range=point_cloud_range
    ),
    pts_middle_encoder=dict(in_channels=32, output_shape=(192, 192)),
    pts_backbone=dict(in_channels=32, out_channels=[32, 64, 128], layer_nums=[2, 3, 3]),
    pts_neck=dict(in_channels=[32, 64, 128], out_channels=[32, 32, 32], upsample_strides=[1, 2, 4]),
    pts_bbox_head=dict(
        in_channels=96,
        share_conv_channel=32,
        separate_head=dict(head_conv=16),
        bbox_coder=dict(
            pc_range=point_cloud_range[:2],
            out_size_factor=out_size_factor,
            voxel_size=voxel_size[:2],
        ),
    ),
    train_cfg=dict(
        pts=dict(
            grid_size=[192, 192, 1],
            voxel_size=voxel_size,
            out_size_factor=out_size_factor,
            point_cloud_range=point_cloud_range,
        )
    ),
    test_cfg=dict(
        pts=dict(
            nms_type='circle',
            pc_range=point_cloud_range[:2],
            voxel_size=voxel_size[:2],
            out_size_factor=out_size_factor,
        )
    ),
)
# The input of the first layer mixes metres over the whole range of the sensor with centimetre
# offsets and reflectance; one 8-bit scale for all of them would move points by half a metre.
ptq = dict(
    rules=[dict(role='points', weight=None, act=None, reason='first layer: raw points, float')]
)
