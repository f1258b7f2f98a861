"""What runs when, what reads what, and what can be folded."""
