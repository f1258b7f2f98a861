"""Inputs and float outputs of units, recorded in one pass over the network."""
