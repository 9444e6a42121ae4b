"""Quality flags as a line of text, for files of other programs, which have no place for them."""

from __future__ import annotations

import re

from hilum.codec.transforms import FLAG_NAMES

_NOTE = "Quality flags: "


def flags_note(flags: tuple[str, ...]) -> str:
    """Returns the flags as a line, such as "Quality flags: LOW_OVERLAP, VIEWS_DIFFER"; "" where there are none."""
    return _NOTE + ", ".join(flags) if flags else ""


def noted_flags(text: str) -> tuple[str, ...]:
    """Returns the flags of the notes in a text, sorted; words that name no flag are passed over."""
    words = {word for line in text.splitlines() if _NOTE in line for word in re.findall(r"\w+", line)}
    return tuple(sorted(words & FLAG_NAMES))
