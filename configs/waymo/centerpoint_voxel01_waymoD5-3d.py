# CenterPoint with voxels on Waymo: one task of three classes, no velocity, 1504 x 1504 x 40 voxels
# as in the paper. mmdet3d has no such config; the architecture is its own for nuScenes.
_base_ = [
    'mmdet3d::_base_/models/centerpoint_voxel01_second_secfpn_nus.py',
    'mmdet3d::_base_/datasets/waymoD5-3d-3class.py',
    'mmdet3d::_base_/default_runtime.py',
]

point_cloud_range = [-75.2, -75.2, -2, 75.2, 75.2, 4]
voxel_size = [0.1, 0.1, 0.15]
post_center_range = [-80, -80, -10.0, 80, 80, 10.0]
head_geometry = dict(out_size_factor=8, voxel_size=voxel_size[:2], pc_range=point_cloud_range[:2])

model = dict(
    data_preprocessor=dict(
        voxel_layer=dict(
            max_num_points=5,
            point_cloud_range=point_cloud_range,
            voxel_size=voxel_size,
            max_voxels=(150000, 200000),
        )
    ),
    pts_middle_encoder=dict(sparse_shape=[41, 1504, 1504]),
    pts_bbox_head=dict(
        tasks=[dict(num_class=3, class_names=['Car', 'Pedestrian', 'Cyclist'])],
        common_heads=dict(_delete_=True, reg=(2, 2), height=(1, 2), dim=(3, 2), rot=(2, 2)),
        bbox_coder=dict(code_size=7, post_center_range=post_center_range, **head_geometry),
        loss_bbox=dict(loss_weight=2.0),
    ),
    train_cfg=dict(
        pts=dict(
            grid_size=[1504, 1504, 40],
            voxel_size=voxel_size,
            point_cloud_range=point_cloud_range,
            out_size_factor=8,
            dense_reg=1,
            gaussian_overlap=0.1,
            max_objs=500,
            min_radius=2,
            code_weights=[1.0] * 10,
        )
    ),
    test_cfg=dict(
        pts=dict(
            post_center_limit_range=post_center_range,
            pre_max_size=4096,
            post_max_size=500,
            nms_thr=0.7,
            **head_geometry,
        )
    ),
)
train_cfg = dict(by_epoch=True, max_epochs=12, val_interval=12)
val_cfg = dict()
test_cfg = dict()
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
