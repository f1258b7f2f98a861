# LiDAR-PTQ (https://arxiv.org/abs/2401.15865): ranges by a light grid search around min-max, then
# rounding of the weights and scales of the layer inputs learned block by block, close to float in
# each block's output (local loss) and in what the head makes of it (task-guided global positive
# loss). Needs no labels. The four steps of its ablation, each one more than the one before:
#   minmax.py, lidar_ptq_grid.py, lidar_ptq_tgpl.py, lidar_ptq.py
# Published: 5000 steps, lr=5e-3 for rounding and 5e-5 for scales in their own units. How the paper
# weighs the two losses is not known to us; the factor makes the second about as large as the first.
grid_search = dict(type='LpObserver', p=2.0, low=0.5, high=1.2, num_candidates=101)
calibrator = dict(type='Calibrator', weight_observer=grid_search, act_observer=grid_search)
reconstructor = dict(
    type='Reconstructor',
    granularity='block',
    rounding=dict(type='AdaRound'),
    act_lr=2e-3,
    task_loss=dict(type='GlobalPositiveLoss', score_thr=0.1, top_k=500, loss_weight=0.1),
    num_iters=500,
    batch_size=2,
)
stages = [calibrator, reconstructor]
