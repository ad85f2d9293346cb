"""What a GPU does with wordbrush: the same edits as a CPU, how fast, how much of it waiting; one short run."""
