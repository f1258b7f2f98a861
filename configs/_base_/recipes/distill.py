# Distillation from the float model: after range search the quantized network is trained as a whole,
# without labels, to give the outputs of the float one. Minutes on a CPU, more with more samples.
_base_ = './mse.py'
stages = [*_base_.stages, dict(type='Distillation', num_iters=2500, batch_size=2)]
