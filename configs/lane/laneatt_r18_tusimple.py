# LaneATT on TuSimple as its authors train it: all 3,626 training images, 100 epochs.
_base_ = [
    '../_base_/datasets/tusimple.py',
    '../_base_/models/laneatt_r18.py',
    '../_base_/schedules/laneatt.py',
]

model = dict(lane_head=dict(score_thr=0.2, nms_distance=45.0, max_lanes=5))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LaneRandomFlip', prob=0.5),
    # At most 25 and 10 pixels of shift in the original image.
    dict(
        type='LaneRandomAffine',
        max_rotation=6,
        scale_range=(0.85, 1.15),
        max_shift=(25 / 1280, 10 / 720),
    ),
    dict(type='LaneResize', scale={{_base_.image_size}}),
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
max_epochs = 100
train_cfg = dict(max_epochs=max_epochs, val_interval=10)
param_scheduler = [
    dict(
        type='CosineAnnealingLR',
        T_max=max_epochs,
        end=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    )
]
