# LiDAR-PTQ's learning (rounding and scales of layer inputs, with the global positive loss) from the
# scales of inlierq, errors of the blocks' outputs weighted by inliers.
_base_ = './inlierq.py'
stages = [
    *_base_.stages,
    dict(
        type='Reconstructor',
        granularity='block',
        importance=dict(type='InlierImportance'),
        act_lr=2e-3,
        task_loss=dict(type='GlobalPositiveLoss', score_thr=0.1, top_k=500, loss_weight=0.1),
        num_iters=500,
        batch_size=2,
        num_samples=64,
    ),
]
