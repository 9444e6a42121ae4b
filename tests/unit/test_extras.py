"""Libraries of an extra."""

import pytest

from hilum.extras import extra


def test_a_missing_library_names_the_command_that_installs_it() -> None:
    """The error says which library is missing and how to get it, and stays a ModuleNotFoundError."""
    with (
        pytest.raises(ModuleNotFoundError, match=r'absent is missing: pip install "hilum\[images\]"') as error,
        extra("images"),
    ):
        raise ModuleNotFoundError("No module named 'absent'", name="absent")
    assert error.value.name == "absent"
