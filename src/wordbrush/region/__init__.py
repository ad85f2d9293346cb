"""Regions: from a contrast or a user's mask to what is edited, at latent cells and at the picture's size."""
