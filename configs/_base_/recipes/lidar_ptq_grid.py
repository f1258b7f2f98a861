# LiDAR-PTQ, step 2 of 4: ranges by a light grid search around min-max, nothing learned.
_base_ = './lidar_ptq.py'
stages = [_base_.calibrator]
