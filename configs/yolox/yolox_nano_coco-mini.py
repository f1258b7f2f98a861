# YOLOX-nano with its authors' COCO weights, on 100 train and 106 val images of COCO.
_base_ = ['mmdet::yolox/yolox_nano_8xb8-300e_coco.py']

# MMPTQ_DATA names the folder that holds coco/ and weights/; without it, ./data does.
data_root = '{{$MMPTQ_DATA:data}}/coco/'
img_scale = (416, 416)

# Only training needs the changing input sizes.
model = dict(data_preprocessor=dict(batch_augments=None))

# The base trains on mosaics of several images; here the train split is for calibration.
train_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=img_scale, keep_ratio=True),
    dict(type='Pad', pad_to_square=True, pad_val=dict(img=(114.0, 114.0, 114.0))),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(
    _delete_=True,
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CocoDataset',
        data_root=data_root,
        ann_file='instances_train2017.json',
        data_prefix=dict(img='train2017/'),
        filter_cfg=dict(filter_empty_gt=False, min_size=32),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root=data_root, ann_file='instances_val2017.json'),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'instances_val2017.json')
test_evaluator = val_evaluator

# The base's hooks switch mosaics off, average weights and synchronise BatchNorm while training.
custom_hooks = []
load_from = '{{$MMPTQ_DATA:data}}/weights/yolox_nano_coco_bn.pth'
