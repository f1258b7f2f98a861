"""Running parts of a model again without the rest."""
