"""Memory of the services does not grow with what they have done; `python -m benchmarks memory` is the long version."""

from benchmarks.memory import Load, growth

# A short run cannot tell less from the allocator's moods.
MOST_PERCENT = 5.0


async def test_memory_does_not_grow(default_bundle: object) -> None:
    """After the warm-up prompts, images and cancelled calls leave nothing behind."""
    assert default_bundle
    figures = await growth(Load(prompts=200, images=20, cancelled=16), Load(prompts=200, images=10, cancelled=16))
    assert {name: value for name, value in figures.items() if name.endswith("percent") and value > MOST_PERCENT} == {}
