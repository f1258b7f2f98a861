# brecq on evened out channels.
_base_ = './brecq.py'
stages = [dict(type='CrossLayerEqualization', alpha=0.5), *_base_.stages]
