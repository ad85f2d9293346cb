"""What the workbench holds: visitors with their pictures and versions, the models, and the work on the device."""
