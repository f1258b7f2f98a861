# detptq_brecq_distill on evened out channels.
_base_ = './detptq_brecq_distill.py'
stages = [dict(type='CrossLayerEqualization', alpha=0.5), *_base_.stages]
