# Rounding learned block by block as in brecq, then distillation from the float model: where range
# search alone leaves nothing to start from (depthwise convolutions at 4 bits).
_base_ = './brecq.py'
stages = [*_base_.stages[:2], dict(type='Distillation', num_iters=2500, batch_size=2)]
