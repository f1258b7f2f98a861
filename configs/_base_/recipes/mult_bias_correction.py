# As mult_mse, and after range search the mean error of every output channel is taken off its bias.
_base_ = './mult_mse.py'
stages = [*_base_.stages, dict(type='BiasCorrection')]
