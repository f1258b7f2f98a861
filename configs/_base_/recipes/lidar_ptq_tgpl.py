# LiDAR-PTQ, step 3 of 4: the scales of layer inputs are learned, with the task-guided global
# positive loss; weights are rounded to the nearest.
_base_ = './lidar_ptq.py'
stages = [_base_.calibrator, dict(_base_.reconstructor, rounding=None)]
