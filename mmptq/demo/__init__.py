"""Generators of labelled demo data sets in real formats (COCO, nuScenes, CULane), made from a seed.

Nothing here needs a download, and nothing here imports the rest of mmptq: the data sets are plain
files, read by the stock dataset classes and scored by the stock metrics.
"""
