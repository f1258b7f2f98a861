# Bias correction (https://arxiv.org/abs/1906.04721, section 4.2, the empirical form): after range
# search, the mean error of every output channel is taken off its bias. Seconds, nothing is learned.
_base_ = './mse.py'
stages = [*_base_.stages, dict(type='BiasCorrection')]
