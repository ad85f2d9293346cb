"""wordbrush."""
