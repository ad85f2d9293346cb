"""Records: what was done to a picture, written into its file and read back."""
