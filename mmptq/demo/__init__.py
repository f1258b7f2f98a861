"""Generators of labelled demo data sets in real formats: COCO, nuScenes and CULane.

They need no download and import nothing else of mmptq. The data sets are files that the stock
dataset classes read and the stock metrics evaluate.
"""
