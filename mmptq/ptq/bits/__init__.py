"""Bits of each layer, by a budget or by the metric."""
