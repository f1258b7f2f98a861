"""SCNN on the demo lanes, from random weights, on a CPU.

python tools/make_demo_data.py lane
python tools/train.py configs/demo/scnn_r18_demo-lane.py

A quarter of the channels of ResNet-18 and SCNN; input, lanes and smoothing are 0.4 of their size on
CULane, rows have half their distance, as the images have half the size.
"""

_base_ = [
    '../_base_/datasets/demo_lane.py',
    '../_base_/models/scnn_r18.py',
    '../_base_/schedules/demo_lane.py',
]

model = dict(
    backbone=dict(base_channels=16, init_cfg=None),
    neck=dict(in_channels=128, channels=32),
    lane_head=dict(
        decoder=dict(in_channels=32),
        existence=dict(feat_size=(16, 40)),
        lane_width=4,
        decoding=dict(row_step=10, window=5),
    ),
)
