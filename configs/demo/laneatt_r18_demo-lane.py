"""LaneATT on the demo lanes, from random weights, on a CPU.

python tools/dataset_converters/make_demo_data.py lane
python tools/train.py configs/demo/laneatt_r18_demo-lane.py

ResNet-18 with a quarter of its channels and without its last stage; the third has a dilation
instead of a stride, because images are small. Distances are less than half of those at 640 pixels.
"""

_base_ = [
    '../_base_/datasets/demo_lane.py',
    '../_base_/models/laneatt_r18.py',
    '../_base_/schedules/demo_lane.py',
]

model = dict(
    data_preprocessor=dict(mean=[100, 100, 100], std=[60, 60, 60]),
    backbone=dict(
        base_channels=16,
        num_stages=3,
        strides=(1, 2, 1),
        dilations=(1, 1, 2),
        out_indices=(2,),
        init_cfg=None,
    ),
    lane_head=dict(
        in_channels=64,
        image_size={{_base_.image_size}},
        stride=8,
        num_rows=36,
        num_anchors=160,
        positive_distance=6.0,
        negative_distance=8.0,
        train_nms_distance=1.0,
        nms_distance=20.0,
        init_cfg=dict(type='Normal', layer=['Conv2d', 'Linear'], std=0.01),
    ),
)
# In a short training the exact place of lanes is learned sooner without rotations.
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LaneRandomFlip', prob=0.5),
    dict(type='LaneCropTop', rows={{_base_.crop_rows}}),
    dict(type='LaneResize', scale={{_base_.image_size}}),
    dict(type='PackLaneInputs'),
]
train_dataloader = dict(batch_size=4, dataset=dict(pipeline=train_pipeline))
