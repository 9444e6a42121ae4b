"""Memory of the services does not grow with what they have done; `python -m benchmarks memory` is the long version."""

from benchmarks.memory import Load, growth

# In so short a run the allocator has not settled yet: this finds what leaks with every call, the long version the rest.
MOST_PERCENT = 25.0


async def test_memory_does_not_grow(default_bundle: object) -> None:
    """After the warm-up prompts, images and cancelled calls leave nothing behind."""
    assert default_bundle
    figures = await growth(Load(prompts=200, images=20, cancelled=16), Load(prompts=200, images=10, cancelled=16))
    assert {name: value for name, value in figures.items() if name.endswith("percent") and value > MOST_PERCENT} == {}
