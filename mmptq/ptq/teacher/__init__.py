"""The float model as a teacher: outputs, gradients, importance."""
