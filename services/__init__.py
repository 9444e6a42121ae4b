"""Hilum's applications: encoder, decoder and fusion. They talk to each other over protobuf only."""
