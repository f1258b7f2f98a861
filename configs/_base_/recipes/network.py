# The whole network at once: rounding of all weights and scales of all layer inputs are learned to
# give the raw outputs of the heads, by their plain squared error. The rate of rounding is that of
# EPTQ in Sony's Model Compression Toolkit (3e-2); it suits few steps.
_base_ = './mse.py'
stages = [
    *_base_.stages,
    dict(
        type='Reconstructor',
        granularity='network',
        rounding=dict(type='AdaRound', lr=3e-2),
        act_lr=2e-3,
        num_iters=500,
        batch_size=2,
    ),
]
