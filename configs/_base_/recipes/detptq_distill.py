# DetPTQ (https://arxiv.org/abs/2304.09785), then distillation from the float model.
_base_ = './detptq.py'
stages = [*_base_.stages, dict(type='Distillation', num_iters=2500, batch_size=2)]
