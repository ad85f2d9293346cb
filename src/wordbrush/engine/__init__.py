"""The engine: runs programs on one model, in batches and within memory; stores values and reports progress."""
