"""The torch side of Hilum: from a checkpoint to a model bundle."""
