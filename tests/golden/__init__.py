"""Golden edits: what the algorithm gives today, to the byte, so that a change of it is seen and meant."""
