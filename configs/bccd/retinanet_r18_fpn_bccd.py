"""RetinaNet-R18 on the real BCCD images, fine-tuned from the demo model on a CPU.

    MMPTQ_DATA=data python tools/train.py configs/bccd/retinanet_r18_fpn_bccd.py

It starts from the demo checkpoint because that comes with the project: nothing has to be
downloaded. The head's class layer does not fit and is trained from random weights (mmengine logs
the size mismatch). The checkpoint in ``checkpoints/`` holds weights only; the data it was trained
on are BCCD, MIT licence, Copyright (c) 2017-present Shenggan.
"""

_base_ = [
    '../_base_/datasets/bccd.py',
    '../_base_/models/retinanet_r18_narrow.py',
    'mmdet::_base_/default_runtime.py',
]

model = dict(bbox_head=dict(num_classes=3))
load_from = '{{ fileDirname }}/../demo/checkpoints/retinanet_r18_fpn_demo-coco.pth'

max_epochs = 30
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=10)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=5e-4, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=10, norm_type=2),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.02, by_epoch=False, begin=0, end=100),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        convert_to_iter_based=True,
        begin=2,
        end=max_epochs,
        T_max=max_epochs - 2,
        eta_min=1e-5,
    ),
]
randomness = dict(seed=0)
default_hooks = dict(logger=dict(interval=26), checkpoint=dict(interval=5, max_keep_ckpts=1))
ptq = dict(calibration=dict(num_samples=128))
