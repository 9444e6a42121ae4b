"""Runnable examples: the demo, and a client without the SDK. The tests execute them."""
