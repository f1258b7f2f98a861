# Ablation of inlierq: every position counts (no selection).
_base_ = './inlierq.py'
importance = dict(type='InlierImportance', anomaly_weight=1.0)
stages = [_base_.calibrator, dict(_base_.refiner, importance=importance)]
