"""What stands in front of the workbench: the guard of every request, uploaded files, the queue."""
