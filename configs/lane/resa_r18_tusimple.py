# RESA with ResNet-18 on TuSimple: 160 rows of sky cut off, four images per batch, five shifts in
# each direction, six positions; 88 epochs of all 3,626 training images are the authors' 80,000
# iterations.
_base_ = [
    '../_base_/datasets/tusimple.py',
    '../_base_/models/resa_r18.py',
    '../_base_/schedules/lane_poly.py',
]

model = dict(
    neck=dict(iterations=5),
    lane_head=dict(
        num_lanes=6,
        lane_width=10,
        decoder=dict(num_classes=7),
        existence=dict(num_lanes=6, feat_size=(46, 80)),
        decoding=dict(row_step=10, pixel_thr=0.6),
    ),
)
crop_rows = 160
image_size = (640, 368)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LaneRandomAffine', max_rotation=10, scale_range=(1, 1), max_shift=(0, 0)),
    dict(type='LaneRandomFlip', prob=0.5),
    dict(type='LaneCropTop', rows=crop_rows),
    dict(type='LaneResize', scale=image_size),
    dict(type='PackLaneInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LaneCropTop', rows=crop_rows),
    dict(type='LaneResize', scale=image_size),
    dict(type='PackLaneInputs'),
]
train_dataloader = dict(
    batch_size=4,
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
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

max_epochs = 88
optim_wrapper = dict(optimizer=dict(lr=0.02))
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [
    dict(type='PolyLR', power=0.9, end=max_epochs, by_epoch=True, convert_to_iter_based=True)
]
