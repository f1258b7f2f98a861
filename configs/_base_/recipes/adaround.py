# AdaRound (https://arxiv.org/abs/2004.10568): rounding of the weights learned layer by layer.
# Published: 10000 to 20000 steps per layer on 1024 images, batches of 32, lr=1e-3.
_base_ = './mse.py'
stages = [
    *_base_.stages,
    dict(type='Reconstructor', granularity='layer', num_iters=500, batch_size=2),
]
