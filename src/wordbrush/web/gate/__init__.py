"""The gate of the workbench: the guard of every request, the uploaded files, the queue."""
