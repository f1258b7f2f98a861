# Ablation of inlierq: the curvature is left out.
_base_ = './inlierq.py'
importance = dict(type='InlierImportance', curvature=None)
stages = [_base_.calibrator, dict(_base_.refiner, importance=importance)]
