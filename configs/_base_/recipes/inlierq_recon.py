# InlierQ with learned rounding: scales of layer inputs as in inlierq, then rounding and scales
# learned block by block as in qdrop, errors of the blocks' outputs weighted by inliers.
_base_ = './inlierq.py'
reconstructor = dict(
    type='Reconstructor',
    granularity='block',
    importance=dict(type='InlierImportance'),
    act_lr=2e-3,
    drop_prob=0.5,
    num_iters=500,
    batch_size=2,
    num_samples=64,
)
stages = [*_base_.stages, reconstructor]
