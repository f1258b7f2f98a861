# DetPTQ (https://arxiv.org/abs/2304.09785), followed by reconstruction: rounding and the scales of
# layer inputs are learned block by block as in QDrop, with the error to the power of the p that was
# chosen for the block.
_base_ = './detptq.py'
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
