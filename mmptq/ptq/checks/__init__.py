"""What a run checks about itself."""
