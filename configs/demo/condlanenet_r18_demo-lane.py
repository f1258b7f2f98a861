"""CondLaneNet on the demo lanes, from random weights, on a CPU.

python tools/dataset_converters/make_demo_data.py lane
python tools/train.py configs/demo/condlanenet_r18_demo-lane.py

ResNet-18 with a quarter of its channels, neck and head with half of theirs. Starts of lanes have
half of CULane's radius and distance, and offsets half of its reach, as the input has 0.4 of its
size. Offsets have a higher weight, because they are learned last in a short training.
"""

_base_ = [
    '../_base_/datasets/demo_lane.py',
    '../_base_/models/condlanenet_r18.py',
    '../_base_/schedules/demo_lane.py',
]

model = dict(
    data_preprocessor=dict(mean=[100, 100, 100], std=[60, 60, 60]),
    backbone=dict(base_channels=16, frozen_stages=-1, norm_eval=False, init_cfg=None),
    neck=dict(in_channels=[32, 64, 128], out_channels=32),
    lane_head=dict(
        in_channels=32,
        image_size={{_base_.image_size}},
        feat_channels=32,
        radius=3,
        offset_reach=3.0,
        nms_radius=2.0,
        loss_offset=dict(type='L1Loss', loss_weight=1.0),
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
