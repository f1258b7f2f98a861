"""New images, made of the calibration images."""
