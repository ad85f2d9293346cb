"""Checkpoints: where they are, what files make them, and reading their parts safely."""
