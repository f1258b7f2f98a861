# SCNN with ResNet-18 on TuSimple: 3,626 training images, 20 per batch, 50 epochs, six positions.
_base_ = [
    '../_base_/datasets/tusimple.py',
    '../_base_/models/scnn_r18.py',
    '../_base_/schedules/scnn.py',
]

model = dict(
    lane_head=dict(
        num_lanes=6,
        decoder=dict(num_classes=7),
        existence=dict(num_lanes=6, feat_size=(45, 80)),
        decoding=dict(row_step=10, max_rows=57),
    ),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LaneRandomAffine', max_rotation=3, scale_range=(1, 1), max_shift=(0, 0)),
    dict(type='LaneResize', scale={{_base_.image_size}}),
    dict(type='PackLaneInputs'),
]
train_dataloader = dict(
    batch_size=20,
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
max_epochs = 50
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, end=200),
    dict(type='PolyLR', power=0.9, end=max_epochs, by_epoch=True, convert_to_iter_based=True),
]
