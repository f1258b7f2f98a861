# InlierQ (https://arxiv.org/abs/2602.03472), scales only: errors of layer inputs count at the
# positions that the detections of the float model depend on (inliers), by one backward of the top-K
# loss per sample. Weights by range search as in mse.
calibrator = dict(
    type='Calibrator',
    weight_observer=dict(type='LpObserver', p=2.0),
    act_observer=dict(type='MinMaxObserver'),
)
refiner = dict(type='ScaleRefiner', importance=dict(type='InlierImportance'), num_samples=64)
stages = [calibrator, refiner]
