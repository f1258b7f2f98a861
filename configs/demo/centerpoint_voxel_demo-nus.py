# CenterPoint on voxels with spconv, narrow, on coarse cells; one stage less than on nuScenes.
_base_ = [
    'mmdet3d::_base_/models/centerpoint_voxel01_second_secfpn_nus.py',
    '../_base_/datasets/demo_nuscenes.py',
    '../_base_/schedules/demo_lidar.py',
]
# Lets spconv train without a GPU.
custom_imports = dict(imports=['mmptq.compat.spconv_cpu'], allow_failed_imports=False)

point_cloud_range = _base_.point_cloud_range
voxel_size = [0.25, 0.25, 0.4]
out_size_factor = 4
model = dict(
    data_preprocessor=dict(
        voxel_layer=dict(
            point_cloud_range=point_cloud_range, voxel_size=voxel_size, max_voxels=(30000, 30000)
        )
    ),
    pts_middle_encoder=dict(
        sparse_shape=[21, 384, 384],
        output_channels=32,
        encoder_channels=((16, 16, 16), (16, 16, 32), (32, 32)),
        encoder_paddings=((0, 0, 1), (0, 0, [0, 1, 1]), (0, 0)),
    ),
    pts_backbone=dict(in_channels=64, out_channels=[32, 64], layer_nums=[3, 3]),
    pts_neck=dict(in_channels=[32, 64], out_channels=[48, 48]),
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
            grid_size=[384, 384, 20],
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
# The input of the first layer are means of raw points: metres over the whole range of the sensor
# next to reflectance and time. 16 bits keep their steps at millimetres (8 bits: half a metre).
ptq = dict(
    rules=[
        dict(
            role='points',
            weight=dict(bits=8),
            act=dict(bits=16),
            reason='first layer: raw points, 16-bit input',
        )
    ]
)
