"""Pictures: opened safely, fitted to a model's grid, put together again."""
