"""The decoder service: prompts to masks, from embeddings."""
