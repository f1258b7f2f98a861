# BRECQ (https://arxiv.org/abs/2102.05426): rounding of the weights learned block by block, errors
# weighted by the squared gradient of the output loss; then the scales of layer inputs, in a phase
# of its own. Published: 20000 and 5000 steps on 1024 images, batches of 32, lr=1e-3 and 4e-4.
_base_ = './mse.py'
stages = [
    *_base_.stages,
    dict(
        type='Reconstructor',
        granularity='block',
        importance=dict(type='FisherImportance'),
        num_iters=500,
        batch_size=2,
    ),
    dict(
        type='Reconstructor',
        granularity='block',
        rounding=None,
        act_lr=2e-3,
        loss=dict(type='LpLoss', p=2.4),
        num_iters=125,
        batch_size=2,
    ),
]
