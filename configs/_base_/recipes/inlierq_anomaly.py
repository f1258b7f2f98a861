# Ablation of inlierq: anomalies alone count, of the same loss.
_base_ = './inlierq.py'
importance = dict(type='InlierImportance', inlier_weight=0.0, anomaly_weight=1.0)
stages = [_base_.calibrator, dict(_base_.refiner, importance=importance)]
