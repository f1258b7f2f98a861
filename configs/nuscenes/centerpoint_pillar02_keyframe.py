# The stock CenterPoint (0.2 m pillars) at full width on one real nuScenes keyframe, untrained.
_base_ = [
    'mmdet3d::centerpoint/centerpoint_pillar02_second_secfpn_8xb4-cyclic-20e_nus-3d.py',
    '../_base_/datasets/nuscenes-keyframe.py',
]
custom_imports = dict(imports=['mmptq'], allow_failed_imports=False)

dataset = dict(
    _base_.keyframe_dataset,
    metainfo=dict(classes=_base_.class_names),
    pipeline=_base_.test_pipeline,
)
dataloader = dict(_base_.keyframe_dataloader, dataset=dataset)
# There is no other sample, so calibration and evaluation share it: compare raw outputs, not scores.
train_dataloader = dict(dataloader, _delete_=True)
val_dataloader = dict(dataloader, _delete_=True)
test_dataloader = dict(dataloader, _delete_=True)
val_evaluator = dict(_base_.keyframe_evaluator, _delete_=True)
test_evaluator = val_evaluator
randomness = dict(seed=0)
# The input of the first layer mixes metres over the whole range of the sensor with centimetre
# offsets and reflectance; one 8-bit scale for all of them would move points by half a metre.
ptq = dict(
    rules=[dict(role='points', weight=None, act=None, reason='first layer: raw points, float')]
)
