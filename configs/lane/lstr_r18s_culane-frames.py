"""LSTR with its authors' CULane weights on frames of one night clip: 41 calibrate, 10 test.

MMPTQ_DATA names the folder that holds culane/ and weights/; without it, ./data does.

    python tools/model_converters/lstr.py data/weights/lstr_culane.pth work_dirs/lstr_culane.pth
    python tools/test.py configs/lane/lstr_r18s_culane-frames.py work_dirs/lstr_culane.pth

These weights have three class logits, and some lanes have their ends swapped.
"""

_base_ = './lstr_r18s_culane.py'

model = dict(lane_head=dict(num_logits=3, sort_ends=True, max_lanes=7))
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(ann_file='list/unlabelled.txt'),
)
val_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(ann_file='list/test.txt')
)
test_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(ann_file='list/test.txt', category_lists=None),
)
ptq = dict(calibration=dict(num_samples=41))
