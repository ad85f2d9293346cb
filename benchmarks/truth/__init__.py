"""The truth bench: edits of never-trained scenes with everything that is true of them, and their judge."""
