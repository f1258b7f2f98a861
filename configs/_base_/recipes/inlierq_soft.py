# Ablation of inlierq: weights are the posterior, without a threshold.
_base_ = './inlierq.py'
importance = dict(type='InlierImportance', soft=True)
stages = [_base_.calibrator, dict(_base_.refiner, importance=importance)]
