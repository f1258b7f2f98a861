"""RetinaNet-R18 on the demo data set in COCO format, from random weights, on a CPU.

python tools/dataset_converters/make_demo_data.py coco
python tools/train.py configs/demo/retinanet_r18_fpn_demo-coco.py
"""

_base_ = [
    '../_base_/datasets/demo_coco.py',
    '../_base_/models/retinanet_r18_narrow.py',
    '../_base_/schedules/demo_coco.py',
]

model = dict(bbox_head=dict(num_classes=6))
