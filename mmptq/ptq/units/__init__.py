"""Parts of a model that are reconstructed together, and their training."""
