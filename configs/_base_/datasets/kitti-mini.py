# A short KITTI drive in mmdet3d's own format (56 train and 21 val frames, interleaved blocks of one
# sequence). MMPTQ_DATA names the folder that holds kitti_mini/; without it, ./data does.
data_root = '{{$MMPTQ_DATA:data}}/kitti_mini/'
point_cloud_range = [0, -20.48, -3, 40.96, 20.48, 1]
class_names = ['Cyclist', 'Car', 'Van']
metainfo = dict(classes=class_names)
input_modality = dict(use_lidar=True, use_camera=False)
data_prefix = dict(pts='velodyne_reduced')

train_pipeline = [
    dict(type='LoadPointsFromFile', coord_type='LIDAR', load_dim=4, use_dim=4),
    dict(type='LoadAnnotations3D', with_bbox_3d=True, with_label_3d=True),
    dict(type='RandomFlip3D', flip_ratio_bev_horizontal=0.5),
    dict(
        type='GlobalRotScaleTrans',
        rot_range=[-0.78539816, 0.78539816],
        scale_ratio_range=[0.95, 1.05],
    ),
    dict(type='PointsRangeFilter', point_cloud_range=point_cloud_range),
    dict(type='ObjectRangeFilter', point_cloud_range=point_cloud_range),
    dict(type='PointShuffle'),
    dict(type='Pack3DDetInputs', keys=['points', 'gt_labels_3d', 'gt_bboxes_3d']),
]
test_pipeline = [
    dict(type='LoadPointsFromFile', coord_type='LIDAR', load_dim=4, use_dim=4),
    dict(type='PointsRangeFilter', point_cloud_range=point_cloud_range),
    dict(type='Pack3DDetInputs', keys=['points']),
]

train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='KittiDataset',
        data_root=data_root,
        ann_file='kitti_mini_infos_train.pkl',
        data_prefix=data_prefix,
        pipeline=train_pipeline,
        modality=input_modality,
        metainfo=metainfo,
        box_type_3d='LiDAR',
        filter_empty_gt=False,
        test_mode=False,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    persistent_workers=False,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='KittiDataset',
        data_root=data_root,
        ann_file='kitti_mini_infos_val.pkl',
        data_prefix=data_prefix,
        pipeline=test_pipeline,
        modality=input_modality,
        metainfo=metainfo,
        box_type_3d='LiDAR',
        test_mode=True,
    ),
)
test_dataloader = val_dataloader

# mmdet3d's own KITTI metric needs CUDA.
val_evaluator = dict(type='RotatedIoU3DMetric', iou_thr=0.7, point_cloud_range=point_cloud_range)
test_evaluator = val_evaluator
