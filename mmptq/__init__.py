"""mmptq: post-training quantization for MMDetection and MMDetection3D models."""

__version__ = '0.1.0'
