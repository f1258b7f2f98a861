"""Candidates for scales and exponents, and the choice among them."""
