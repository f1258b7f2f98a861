# CondLaneNet on TuSimple as its authors train it: the lower 560 rows of all 3,626 images, 8 images
# per GPU, 70 epochs. Their compression, blur and random crops of training images are left out.
_base_ = [
    '../_base_/datasets/tusimple_800x320.py',
    '../_base_/models/condlanenet_r18.py',
    '../_base_/schedules/condlanenet.py',
]

model = dict(lane_head=dict(nms_radius=2.0))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LaneCropTop', rows={{_base_.crop_rows}}),
    dict(type='LaneResize', scale={{_base_.image_size}}),
    dict(type='PhotoMetricDistortion'),
    dict(
        type='LaneRandomAffine',
        max_rotation=10,
        scale_range=(0.8, 1.2),
        max_shift=(0.1, 0.1),
        prob=0.6,
    ),
    dict(type='PackLaneInputs'),
]
train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        datasets=[
            dict(
                type='TuSimpleLaneDataset',
                data_root={{_base_.data_root}},
                ann_file=f'label_data_{day}.json',
                pipeline=train_pipeline,
            )
            for day in ('0313', '0531', '0601')
        ]
    ),
)
max_epochs = 70
train_cfg = dict(max_epochs=max_epochs, val_interval=10)
optim_wrapper = dict(optimizer=dict(lr=2.5e-4))
param_scheduler = [
    dict(type='ConstantLR', factor=1 / 3, by_epoch=False, begin=0, end=10),
    dict(type='MultiStepLR', milestones=[40, 60], gamma=0.1, by_epoch=True, end=max_epochs),
]
