# ENet-SAD's network on CULane without the distillation: 60,000 batches of 12 whole images.
_base_ = [
    '../_base_/datasets/culane_whole.py',
    '../_base_/models/enet.py',
    '../_base_/schedules/enet_sad.py',
]

train_dataloader = dict(batch_size=12, sampler=dict(type='InfiniteSampler', shuffle=True))
