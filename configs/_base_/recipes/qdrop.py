# QDrop (https://arxiv.org/abs/2203.05740): rounding of the weights and scales of layer inputs
# learned block by block, while half of all activations, chosen at random, are not quantized.
# Published: 20000 steps per block on 1024 images (256 for detectors), batches of 32, lr=1e-3 and
# 4e-5 for scales in their own units.
_base_ = './mse.py'
stages = [
    *_base_.stages,
    dict(
        type='Reconstructor',
        granularity='block',
        act_lr=2e-3,
        drop_prob=0.5,
        num_iters=500,
        batch_size=2,
    ),
]
