# Ablation of inlierq: anomalies alone count, of a loss on all responses (no top-K).
_base_ = './inlierq.py'
loss = dict(type='TopKConfidenceLoss', k='all')
importance = dict(type='InlierImportance', loss=loss, inlier_weight=0.0, anomaly_weight=1.0)
stages = [_base_.calibrator, dict(_base_.refiner, importance=importance)]
