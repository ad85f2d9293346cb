"""The pocket model's training: scenes with known truth, an autoencoder, a denoiser and their export."""
