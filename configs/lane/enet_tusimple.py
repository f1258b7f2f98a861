# ENet-SAD's network on TuSimple without the distillation: 50,000 batches of 12 whole images of
# 640x368, six positions.
_base_ = [
    '../_base_/datasets/tusimple.py',
    '../_base_/models/enet.py',
    '../_base_/schedules/enet_sad.py',
]

model = dict(
    lane_head=dict(
        num_lanes=6,
        decoder=dict(num_classes=7),
        existence=dict(num_lanes=6, feat_size=(46, 80)),
        decoding=dict(row_step=10, max_rows=57, pixel_thr=0.2),
    ),
)
image_size = (640, 368)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='LaneRandomAffine', max_rotation=2, scale_range=(0.95, 1.05), max_shift=(0.025, 0.025)
    ),
    dict(type='LaneResize', scale=image_size),
    dict(type='PackLaneInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LaneResize', scale=image_size),
    dict(type='PackLaneInputs'),
]
train_dataloader = dict(
    batch_size=12,
    sampler=dict(type='InfiniteSampler', shuffle=True),
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

max_iters = 50000
train_cfg = dict(max_iters=max_iters)
param_scheduler = [dict(type='PolyLR', power=0.9, end=max_iters, by_epoch=False)]
