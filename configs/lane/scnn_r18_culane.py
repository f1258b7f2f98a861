# SCNN with ResNet-18 on CULane: whole images, 20 per batch, 12 epochs.
_base_ = [
    '../_base_/datasets/culane_whole.py',
    '../_base_/models/scnn_r18.py',
    '../_base_/schedules/scnn.py',
]

train_dataloader = dict(batch_size=20)
