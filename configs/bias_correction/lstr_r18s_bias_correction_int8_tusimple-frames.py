# LSTR in 8 bits throughout: what its most sensitive layer does wrong is almost the same in all
# frames, so that a bias takes it back.
_base_ = [
    '../lane/lstr_r18s_tusimple-frames.py',
    '../_base_/schemes/int8.py',
    '../_base_/recipes/bias_correction.py',
]
custom_hooks = [dict(type='QuantizationHook')]
train_cfg = dict(_delete_=True, type='PTQLoop')
calibration = dict(num_samples=10)
