"""GANet on the demo lanes, from random weights, on a CPU.

python tools/dataset_converters/make_demo_data.py lane
python tools/train.py configs/demo/ganet_r18_demo-lane.py

ResNet-18 with a quarter of its channels, the aggregator with a sixteenth and five points.
"""

_base_ = [
    '../_base_/datasets/demo_lane.py',
    '../_base_/models/ganet_r18.py',
    '../_base_/schedules/demo_lane.py',
]

model = dict(
    data_preprocessor=dict(mean=[100, 100, 100], std=[60, 60, 60]),
    backbone=dict(base_channels=16, frozen_stages=-1, norm_eval=False, init_cfg=None),
    neck=dict(
        in_channels=[32, 64, 128],
        out_channels=32,
        aggregator=dict(feat_channels=16, num_points=5, stacked_convs=2),
    ),
    lane_head=dict(in_channels=32, min_keypoints=3, max_distance=3.0),
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
