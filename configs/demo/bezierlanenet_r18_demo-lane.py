"""BezierLaneNet on the demo lanes, from random weights, on a CPU.

python tools/dataset_converters/make_demo_data.py lane
python tools/train.py configs/demo/bezierlanenet_r18_demo-lane.py

ResNet-18 with a quarter of its channels, which gives 20 columns for an image of 320x128 pixels.
Each epoch passes four times over the images.
"""

_base_ = [
    '../_base_/datasets/demo_lane.py',
    '../_base_/models/bezierlanenet_r18.py',
    '../_base_/schedules/demo_lane.py',
]

model = dict(
    data_preprocessor=dict(mean=[100, 100, 100], std=[60, 60, 60]),
    backbone=dict(base_channels=16, init_cfg=None),
    neck=dict(in_channels=64, mid_channels=32, dilations=(2, 4)),
    lane_head=dict(
        in_channels=64,
        window=5,
        lane_width=4,
        x_from_column=True,
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=0.5),
    ),
)

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='RepeatDataset',
        times=4,
        dataset={{_base_.train_dataloader.dataset}},
    )
)
optim_wrapper = dict(optimizer=dict(lr=4e-3))
