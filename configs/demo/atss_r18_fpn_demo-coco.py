"""ATSS-R18 on the demo data set in COCO format, from the demo RetinaNet's backbone, on a CPU.

python tools/dataset_converters/make_demo_data.py coco
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
warmup, cosine = _base_.param_scheduler
param_scheduler = [warmup, dict(cosine, end=max_epochs, T_max=max_epochs - 1)]
del warmup, cosine
