# DetPTQ (https://arxiv.org/abs/2304.09785), scales only: for each weight and each layer input the
# exponent p whose Lp-optimal scales change the outputs of the detector least. What the outputs do
# not depend on keeps the scales of p = 2.
_base_ = './mse.py'
stages = [*_base_.stages, dict(type='LpSelector', num_samples=32)]
