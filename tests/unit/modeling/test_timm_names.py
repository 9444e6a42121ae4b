"""modeling.timm_names: four names while one package is being imported."""

import importlib
import importlib.util
import sys

import pytest

from modeling.timm_names import DropPath, timm_importable


@pytest.mark.skipif(importlib.util.find_spec("timm") is not None, reason="timm is installed: nothing stands in for it")
def test_the_names_are_importable_inside_the_block_only() -> None:
    """The names can be imported inside the block and not after it, whatever happens inside."""

    def interrupted() -> None:
        with timm_importable():
            layers = importlib.import_module("timm.models.layers")
            assert layers.to_2tuple(7) == (7, 7)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not [name for name in sys.modules if name.split(".")[0] == "timm"]


def test_stochastic_depth_is_refused() -> None:
    """The one name that is not timm's in full says so, should a model ask for it."""
    with pytest.raises(NotImplementedError, match="install timm"):
        DropPath(0.1)
