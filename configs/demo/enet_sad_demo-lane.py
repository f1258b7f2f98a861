"""ENet-SAD on the demo lanes, from random weights, on a CPU.

python tools/dataset_converters/make_demo_data.py lane
python tools/train.py configs/demo/enet_sad_demo-lane.py

The real ENet; input, lanes and smoothing are 0.4 of their size on CULane, rows have half their
distance, as the images have half the size. Distillation begins after two thirds of the training.
"""

_base_ = [
    '../_base_/datasets/demo_lane.py',
    '../_base_/models/enet.py',
    '../_base_/schedules/demo_lane.py',
]

model = dict(
    # A short training needs no dropout.
    backbone=dict(dropout=0.0),
    lane_head=dict(
        decoder=dict(dropout=0.0),
        existence=dict(feat_size=(16, 40)),
        lane_width=4,
        decoding=dict(row_step=10, window=5),
    ),
    # Plain sums of squares would saturate the softmax, see SADLoss.
    distillation=dict(type='SADLoss', stages=(1, 2, 3), relative=True),
)
train_dataloader = dict(batch_size=4)
optim_wrapper = dict(
    optimizer=dict(lr=1e-2),
    # The few units of the existence branch die of large steps.
    paramwise_cfg=dict(custom_keys={'lane_head.existence': dict(lr_mult=0.1)}),
)
custom_hooks = [dict(type='SADHook', begin=1000)]
