# lidar_ptq without the task-guided global positive loss: what that loss brings is the difference.
_base_ = './lidar_ptq.py'
stages = [_base_.calibrator, dict(_base_.reconstructor, task_loss=None)]
