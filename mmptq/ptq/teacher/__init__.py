"""What the float model says: outputs, gradients, importance."""
