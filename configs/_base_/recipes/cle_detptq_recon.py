# detptq_recon on evened out channels.
_base_ = './detptq_recon.py'
stages = [dict(type='CrossLayerEqualization', alpha=0.5), *_base_.stages]
