"""The encoder service: images to embeddings, once per image."""
