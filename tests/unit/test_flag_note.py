"""Quality flags as a line of text."""

from hypothesis import given
from hypothesis import strategies as st

from hilum.codec.transforms import FLAG_NAMES
from hilum.flag_note import flags_note, noted_flags
from tests.unit.drawn_transforms import UNHURRIED


@UNHURRIED
@given(st.sets(st.sampled_from(sorted(FLAG_NAMES))), st.text(max_size=20))
def test_flags_are_read_from_the_midst_of_a_text(flags: set[str], other: str) -> None:
    """Whatever stands on other lines, the flags of a note are found, sorted."""
    names = tuple(sorted(flags))
    assert noted_flags(f"{other}\n# {flags_note(names)}\n") == names


def test_words_elsewhere_are_no_flags() -> None:
    """The name of a flag outside of a note, and other words within one, say nothing."""
    assert noted_flags("VIEWS_DIFFER\nQuality flags: SOMETHING, LOW_OVERLAP") == ("LOW_OVERLAP",)
    assert flags_note(()) == ""
