"""Add-ons to a model: LoRAs and learnt embeddings. Every tensor of an add-on is applied, told of, or refused."""
