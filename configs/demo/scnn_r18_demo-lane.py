"""SCNN on the demo lanes, from random weights, on a CPU.

python tools/dataset_converters/make_demo_data.py lane
python tools/train.py configs/demo/scnn_r18_demo-lane.py

A quarter of the channels of ResNet-18 and SCNN. The first three stages without strides give cells
of 4x4 pixels, on which a lane of the small input is as wide as one of CULane's on 8x8. Lanes and
smoothing have 0.4 of their size there, rows half their distance, as the images have half the size.
"""

_base_ = [
    '../_base_/datasets/demo_lane.py',
    '../_base_/models/scnn_r18.py',
    '../_base_/schedules/demo_lane.py',
]

model = dict(
    backbone=dict(
        base_channels=16,
        num_stages=3,
        strides=(1, 1, 1),
        dilations=(1, 2, 4),
        out_indices=(2,),
        init_cfg=None,
    ),
    neck=dict(in_channels=64, channels=32),
    lane_head=dict(
        decoder=dict(in_channels=32),
        existence=dict(feat_size=(32, 80)),
        lane_width=4,
        decoding=dict(row_step=10, window=5),
    ),
)
train_dataloader = dict(batch_size=4)
optim_wrapper = dict(
    optimizer=dict(lr=6e-3),
    # The few units of the existence branch die of large steps.
    paramwise_cfg=dict(custom_keys={'lane_head.existence': dict(lr_mult=0.1)}),
)
