"""LSTR with its authors' TuSimple weights on single frames: ten images each of two folders.

MMPTQ_DATA names the folder that holds tusimple/ and weights/; without it, ./data does.

    python tools/model_converters/lstr.py data/weights/lstr_tusimple.pth work_dirs/lstr.pth
    python tools/test.py configs/lane/lstr_r18s_tusimple-frames.py work_dirs/lstr.pth
"""

_base_ = ['../_base_/models/lstr_r18s.py', '../_base_/schedules/lstr.py']

data_root = '{{$MMPTQ_DATA:data}}/tusimple/'
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LaneResize', scale=(640, 360)),
    dict(type='PackLaneInputs'),
]
frames = dict(
    type='LaneFolderDataset',
    data_root=data_root,
    metainfo=dict(image_size=(1280, 720)),
    h_samples=(160, 720, 10),
    pipeline=pipeline,
)
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(frames, data_prefix=dict(img_path='train_images', lane_path='train_labels')),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        frames,
        data_prefix=dict(img_path='test_images', lane_path='test_labels'),
        test_mode=True,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='TuSimpleMetric')
test_evaluator = val_evaluator
ptq = dict(calibration=dict(num_samples=10))
