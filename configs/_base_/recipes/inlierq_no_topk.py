# Ablation of inlierq: all responses count in place of the K largest (no top-K).
_base_ = './inlierq.py'
loss = dict(type='TopKConfidenceLoss', k='all')
importance = dict(type='InlierImportance', loss=loss)
stages = [_base_.calibrator, dict(_base_.refiner, importance=importance)]
