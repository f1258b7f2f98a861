"""Faster R-CNN-R18 on the demo data set in COCO format, on a CPU.

It starts from the backbone of the demo RetinaNet.

python tools/dataset_converters/make_demo_data.py coco
python tools/train.py configs/demo/faster-rcnn_r18_fpn_demo-coco.py
"""

_base_ = [
    '../_base_/datasets/demo_coco.py',
    '../_base_/models/faster-rcnn_r18_narrow.py',
    '../_base_/schedules/demo_coco.py',
]

model = dict(
    backbone=dict(
        init_cfg=dict(
            _delete_=True,
            type='Pretrained',
            prefix='backbone.',
            checkpoint='{{ fileDirname }}/checkpoints/retinanet_r18_fpn_demo-coco.pth',
        )
    ),
    roi_head=dict(bbox_head=dict(num_classes=6)),
)

max_epochs = 4
train_cfg = dict(max_epochs=max_epochs)
warmup, cosine = _base_.param_scheduler
param_scheduler = [warmup, dict(cosine, end=max_epochs, T_max=max_epochs - 1)]
del warmup, cosine
