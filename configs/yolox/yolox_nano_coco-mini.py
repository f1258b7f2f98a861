# YOLOX-nano with its authors' COCO weights, on 100 train and 106 val images of COCO.
_base_ = ['mmdet::yolox/yolox_nano_8xb8-300e_coco.py']

# MMPTQ_DATA names the folder that holds coco/ and weights/; without it, ./data does.
data_root = '{{$MMPTQ_DATA:data}}/coco/'
img_scale = (416, 416)

# Only training needs the changing input sizes.
model = dict(data_preprocessor=dict(batch_augments=None))

# The base trains on mosaics of several images; here the train split is for calibration.
train_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=img_scale, keep_ratio=True),
    dict(type='Pad', pad_to_square=True, pad_val=dict(img=(114.0, 114.0, 114.0))),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(
    _delete_=True,
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CocoDataset',
        data_root=data_root,
        ann_file='instances_train2017.json',
        data_prefix=dict(img='train2017/'),
        filter_cfg=dict(filter_empty_gt=False, min_size=32),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root=data_root, ann_file='instances_val2017.json'),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'instances_val2017.json')
test_evaluator = val_evaluator

# The base's hooks switch mosaics off, average weights and synchronise BatchNorm while training.
custom_hooks = []
load_from = '{{$MMPTQ_DATA:data}}/weights/yolox_nano_coco_bn.pth'

ptq = dict(
    rules=[
        # The channels of a depthwise convolution never mix, so its training may leave one with a
        # range of 0.2 and a weight of 11 next to one with a range of 120 and a weight of 0.03; on
        # one 8-bit scale the small ones vanish. Nine weights per channel leave nothing for errors
        # to average over.
        dict(
            role='depthwise',
            weight=dict(bits=8),
            act=dict(bits=8, per_channel=True),
            reason='depthwise: 8 bit, scale per channel',
        ),
        # The eight backbone layers that cost most at 4 bits: pointwise convolutions whose inputs
        # hardly vary, so that errors of their weights add up to a shift instead of averaging out.
        # Alone at 4 bits, each of them takes up to .105 of an AP of .308, any other layer at most
        # .013 (tools/analysis/layer_sensitivity.py).
        *[
            dict(name=name, weight=dict(bits=8), act=dict(bits=8), reason='sensitive: 8 bit')
            for name in (
                'backbone.stage?.0.pointwise_conv.conv',
                'backbone.stage?.1.final_conv.conv',
                'backbone.stage4.1.conv2.conv',
            )
        ],
    ],
    calibration=dict(num_samples=64),
)
