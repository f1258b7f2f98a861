# InlierQ with learned rounding: scales of layer inputs as in inlierq, then rounding of the weights
# learned block by block, errors of the blocks' outputs weighted the same way.
_base_ = './inlierq.py'
reconstructor = dict(
    type='Reconstructor',
    granularity='block',
    importance=dict(type='InlierImportance'),
    num_iters=500,
    batch_size=2,
    num_samples=64,
)
stages = [*_base_.stages, reconstructor]
