"""How batches enter a model."""
