"""ATSS-R18 on the demo data set in COCO format, from the demo RetinaNet's backbone, on a CPU.

python tools/make_demo_data.py coco
python tools/train.py configs/demo/atss_r18_fpn_demo-coco.py
"""

_base_ = [
    '../_base_/datasets/demo_coco.py',
    '../_base_/models/atss_r18_narrow.py',
    '../_base_/schedules/demo_coco.py',
]

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            prefix='backbone.',
            checkpoint='{{ fileDirname }}/checkpoints/retinanet_r18_fpn_demo-coco.pth',
        )
    ),
    bbox_head=dict(num_classes=6),
)

max_epochs = 5
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.02, by_epoch=False, begin=0, end=400),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        convert_to_iter_based=True,
        begin=1,
        end=max_epochs,
        T_max=max_epochs - 1,
        eta_min=1e-5,
    ),
]
