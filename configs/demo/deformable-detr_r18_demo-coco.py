"""Deformable DETR-R18 on the demo data set in COCO format, on a CPU.

Backbone and FPN are those of the demo RetinaNet; the backbone stays as it is. Images of half the
size make an iteration four times as fast.

python tools/dataset_converters/make_demo_data.py coco
python tools/train.py configs/demo/deformable-detr_r18_demo-coco.py
"""

_base_ = [
    '../_base_/datasets/demo_coco.py',
    '../_base_/models/deformable-detr_r18_narrow.py',
    '../_base_/schedules/demo_coco.py',
]

pretrained = '{{ fileDirname }}/checkpoints/retinanet_r18_fpn_demo-coco.pth'
model = dict(
    backbone=dict(
        frozen_stages=4,
        init_cfg=dict(type='Pretrained', prefix='backbone.', checkpoint=pretrained),
    ),
    neck=dict(init_cfg=dict(type='Pretrained', prefix='neck.', checkpoint=pretrained)),
    bbox_head=dict(num_classes=6),
)

image_size = (160, 128)
resize = dict(type='Resize', scale=image_size, keep_ratio=True)
train_pipeline = [resize if t.type == 'Resize' else t for t in _base_.train_pipeline]
test_pipeline = [resize if t.type == 'Resize' else t for t in _base_.test_pipeline]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

max_epochs = 5
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
optim_wrapper = dict(
    optimizer=dict(lr=8e-4, weight_decay=1e-4),
    paramwise_cfg=dict(
        custom_keys={
            'neck': dict(lr_mult=0.1),
            'sampling_offsets': dict(lr_mult=0.3),
            'reference_points': dict(lr_mult=0.3),
        }
    ),
    clip_grad=dict(max_norm=1.0),
)
warmup, cosine = _base_.param_scheduler
param_scheduler = [
    dict(warmup, end=100),
    dict(cosine, begin=0, end=max_epochs, T_max=max_epochs),
]
del warmup, cosine, resize
