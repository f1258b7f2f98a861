# LSTR in 8 bits throughout, without the float layers of its policy: the error of its most sensitive
# layer is almost the same in all frames, so that a bias corrects it.
_base_ = [
    '../lane/lstr_r18s_tusimple-frames.py',
    '../_base_/schemes/int8.py',
    '../_base_/recipes/bias_correction.py',
]
custom_hooks = [dict(type='QuantizationHook')]
train_cfg = dict(_delete_=True, type='PTQLoop')
ptq = dict(rules=[dict(role='coordinates', weight=dict(bits=8), act=dict(bits=8), reason='8 bits')])
