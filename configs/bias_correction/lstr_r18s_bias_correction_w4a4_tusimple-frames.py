# LSTR with its authors' weights, calibrated on ten frames and tested on ten others.
_base_ = [
    '../lane/lstr_r18s_tusimple-frames.py',
    '../_base_/schemes/w4a4_lstr.py',
    '../_base_/recipes/bias_correction.py',
]
custom_hooks = [dict(type='QuantizationHook')]
train_cfg = dict(_delete_=True, type='PTQLoop')
calibration = dict(num_samples=10)
