# Channels evened out over layers first (cross-layer equalization, section 4.1 of
# https://arxiv.org/abs/1906.04721, by activations and weights), then the ranges with the smallest
# squared error.
_base_ = './mse.py'
stages = [dict(type='CrossLayerEqualization', alpha=0.5), *_base_.stages]
