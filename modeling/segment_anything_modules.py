"""segment-anything's model modules, importable beside a torch without torchvision.

`import segment_anything` pulls in its predictor and mask generator, which need torchvision; torchvision has
no CPU build, and its PyPI wheel fails beside CPU torch. The model modules themselves need torch only. So a
bare package object stands in for `segment_anything`'s `__init__` while they are being imported, and only
then: a later plain import finds the package as it is. A named exception to "no monkeypatching", and the only
place that imports the package.
"""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def _bare_package(name: str) -> Iterator[None]:
    """Let submodules of a package be imported without running its `__init__`."""
    if name in sys.modules:
        yield
        return
    spec = importlib.util.find_spec(name)
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError(f"{name} is not installed: run `make setup`")
    package = ModuleType(name)
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules[name] = package
    try:
        yield
    finally:
        del sys.modules[name]


with _bare_package("segment_anything"):
    from segment_anything.build_sam import build_sam_vit_b, build_sam_vit_h, build_sam_vit_l
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

__all__ = [
    "ImageEncoderViT",
    "MaskDecoder",
    "PromptEncoder",
    "Sam",
    "TwoWayTransformer",
    "build_sam_vit_b",
    "build_sam_vit_h",
    "build_sam_vit_l",
]
