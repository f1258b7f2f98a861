# ATSS-MobileNetV2 with its authors' weights (person-vehicle-bike-detection-2003 of Open Model Zoo),
# on 228 train and 168 val images of COCO with its three classes. The class of its backbone is in
# weights/mbv2w1.py of the data folder, which PYTHONPATH has to name.
_base_ = ['mmdet::atss/atss_r50_fpn_1x_coco.py']
custom_imports = dict(imports=['mbv2w1'], allow_failed_imports=True)

# MMPTQ_DATA names the folder that holds coco/ and weights/; without it, ./data does.
data_root = '{{$MMPTQ_DATA:data}}/coco/'
classes = ('vehicle', 'person', 'non-vehicle')
img_scale = (864, 480)

model = dict(
    data_preprocessor=dict(mean=[0, 0, 0], std=[255.0, 255.0, 255.0], bgr_to_rgb=False),
    backbone=dict(
        _delete_=True,
        type='MobileNetV2W1',
        act_cfg=dict(type='ReLU6'),
        out_indices=(1, 2, 4, 6),
    ),
    neck=dict(in_channels=[24, 32, 96, 320], out_channels=32),
    bbox_head=dict(
        num_classes=3,
        in_channels=32,
        feat_channels=32,
        anchor_generator=dict(ratios=[0.5, 1.0, 2.0]),
    ),
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=img_scale, keep_ratio=False),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=img_scale, keep_ratio=False),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
data = dict(data_root=data_root, metainfo=dict(classes=classes))
train_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        **data,
        ann_file='vehicle_person_train2017_228.json',
        data_prefix=dict(img='train2017/'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        **data,
        ann_file='vehicle_person_val2017_168.json',
        data_prefix=dict(img='val2017/'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'vehicle_person_val2017_168.json', classwise=True)
test_evaluator = val_evaluator
load_from = '{{$MMPTQ_DATA:data}}/weights/atss_mnv2_2003.pth'
