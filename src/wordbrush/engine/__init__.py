"""The engine: how a model is run - batches, memory, what is kept, what is told."""
