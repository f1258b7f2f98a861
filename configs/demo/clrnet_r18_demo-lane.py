"""CLRNet on the demo lanes, from random weights, on a CPU.

python tools/dataset_converters/make_demo_data.py lane
python tools/train.py configs/demo/clrnet_r18_demo-lane.py

ResNet-18 with a quarter of its channels, half of the head's channels, priors, rows and points.
Distances are less than half of those at 800 pixels.
"""

_base_ = [
    '../_base_/datasets/demo_lane.py',
    '../_base_/models/clrnet_r18.py',
    '../_base_/schedules/demo_lane.py',
]

model = dict(
    data_preprocessor=dict(mean=[100, 100, 100], std=[60, 60, 60]),
    backbone=dict(base_channels=16, init_cfg=None),
    neck=dict(in_channels=[32, 64, 128], out_channels=32),
    lane_head=dict(
        in_channels=32,
        image_size={{_base_.image_size}},
        num_priors=96,
        num_rows=36,
        gather=dict(num_points=18, mid_channels=24, context_size=(4, 10)),
        mask_head=dict(lane_width=4),
        nms_distance=20.0,
        loss_iou=dict(type='LineIoULoss', radius=6.0, loss_weight=2.0),
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
