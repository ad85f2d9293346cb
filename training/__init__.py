"""Training programmes of wordbrush; not part of the installed package."""
