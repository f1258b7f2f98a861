# PD-Quant (https://arxiv.org/abs/2212.07048): QDrop with the difference of the detections added to
# the loss: the rest of the network runs in float behind the unit. The divergence of class scores
# is that of DetectionOutputLoss without boxes; the correction of activation statistics is left out.
# Published: 20000 steps per block on 1024 images, batches of 32, lr=3e-3 and 4e-5 for scales.
_base_ = './mse.py'
stages = [
    *_base_.stages,
    dict(
        type='Reconstructor',
        granularity='block',
        act_lr=2e-3,
        drop_prob=0.5,
        task_loss=dict(type='DetectionOutputLoss', loc_weight=0.0),
        num_iters=500,
        batch_size=1,
    ),
]
