"""Prompts as the mask decoder's prompt encoder wants them.

The prompt encoder adds half a pixel to every coordinate, as if pixel centres lay at integers of its own canvas. A point
(x, y) of an image that was scaled by s therefore becomes (x + .5) * s - .5: the same place of the same pixel.
segment-anything itself passes x * s, which is off by up to half a canvas pixel; ours is exact
(docs/concepts/geometry.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hilum.errors import PromptNotSupported
from hilum.serving.bundle import PromptKinds
from hilum.types import Prompt

_PADDING, _BACKGROUND, _FOREGROUND, _BOX_MIN, _BOX_MAX = -1.0, 0.0, 1.0, 2.0, 3.0


@dataclass(frozen=True)
class CanvasMap:
    """Takes full-image pixels to the model's canvas.

    Attributes:
        image_size: (height, width) of what was encoded.
        input_size: (height, width) of it on the canvas.
        offset: (x, y) of the encoded crop's first pixel in the full image.
    """

    image_size: tuple[int, int]
    input_size: tuple[int, int]
    offset: tuple[int, int] = (0, 0)

    def to_canvas(self, points: NDArray[np.float64]) -> NDArray[np.float32]:
        """Returns (n, 2) canvas coordinates, before the prompt encoder's own half pixel."""
        scale = np.array(self.input_size[::-1]) / np.array(self.image_size[::-1])
        mapped: NDArray[np.float64] = (points - np.array(self.offset) + 0.5) * scale - 0.5
        return mapped.astype(np.float32)


@dataclass(frozen=True)
class PromptBatch:
    """Prompts that run in one call of the graph: they have the same number of tokens and all or none a mask.

    Attributes:
        indices: Their places in the request.
        point_coords: (batch, tokens, 2) float32, canvas pixels.
        point_labels: (batch, tokens) float32: 1 foreground, 0 background, 2 and 3 box corners, -1 padding.
        mask_input: (batch, 1, side, side) float32 logits, or None.
    """

    indices: tuple[int, ...]
    point_coords: NDArray[np.float32]
    point_labels: NDArray[np.float32]
    mask_input: NDArray[np.float32] | None


def check_kinds(prompts: Sequence[Prompt], kinds: PromptKinds, model: str) -> None:
    """Refuses prompts that the model was not trained on.

    Raises:
        PromptNotSupported: With what works instead.
    """
    for index, prompt in enumerate(prompts):
        if prompt.points and not kinds.points:
            _refuse(f"prompts[{index}].points", "points", kinds, model)
        if prompt.box is not None and not kinds.box:
            _refuse(f"prompts[{index}].box", "boxes", kinds, model)
        if prompt.mask_input is not None and not kinds.mask_input:
            _refuse(f"prompts[{index}].mask_input", "mask inputs", kinds, model)


def check_points(kinds: PromptKinds, model: str) -> None:
    """Refuses to prompt with points of its own a model that was not trained on them; PromptNotSupported."""
    if not kinds.points:
        _refuse("", "points", kinds, model)


def point_batch(points: NDArray[np.float64], canvas: CanvasMap) -> PromptBatch:
    """Returns one batch of prompts that are one foreground point (n, 2) each, in full-image pixels."""
    coords = np.zeros((len(points), 2, 2), np.float32)
    coords[:, 0] = canvas.to_canvas(points)
    labels = np.tile(np.array([_FOREGROUND, _PADDING], np.float32), (len(points), 1))
    return PromptBatch(tuple(range(len(points))), coords, labels, None)


def batches(prompts: Sequence[Prompt], canvas: CanvasMap, max_batch: int) -> list[PromptBatch]:
    """Groups prompts into calls of at most max_batch.

    Each prompt becomes its points, then two corners of its box, or one padding point where it has points but no box,
    exactly as segment-anything's prompt encoder lays them out; mask_input
    alone has no tokens. Padding further would change the masks, so prompts are grouped by
    token count.
    """
    groups: dict[tuple[int, bool], list[int]] = {}
    tokens = [_tokens(prompt, canvas) for prompt in prompts]
    for index, prompt in enumerate(prompts):
        groups.setdefault((len(tokens[index][1]), prompt.mask_input is not None), []).append(index)
    return [
        _batch(prompts, tokens, indices[begin : begin + max_batch])
        for indices in groups.values()
        for begin in range(0, len(indices), max_batch)
    ]


def _batch(
    prompts: Sequence[Prompt], tokens: list[tuple[NDArray[np.float32], list[float]]], indices: list[int]
) -> PromptBatch:
    masks = [mask for index in indices if (mask := prompts[index].mask_input) is not None]
    return PromptBatch(
        tuple(indices),
        np.stack([tokens[index][0] for index in indices]),
        np.array([tokens[index][1] for index in indices], np.float32),
        np.stack(masks)[:, None].astype(np.float32) if masks else None,
    )


def _tokens(prompt: Prompt, canvas: CanvasMap) -> tuple[NDArray[np.float32], list[float]]:
    coords = [(point.x, point.y) for point in prompt.points]
    labels = [_FOREGROUND if point.foreground else _BACKGROUND for point in prompt.points]
    if prompt.box is not None:
        coords += [(prompt.box.x_min, prompt.box.y_min), (prompt.box.x_max, prompt.box.y_max)]
        labels += [_BOX_MIN, _BOX_MAX]
    mapped = canvas.to_canvas(np.array(coords, np.float64).reshape(-1, 2))
    if prompt.box is None and prompt.points:
        mapped = np.concatenate([mapped, np.zeros((1, 2), np.float32)])
        labels.append(_PADDING)
    return mapped, labels


def _refuse(field: str, kind: str, kinds: PromptKinds, model: str) -> None:
    working = [
        name
        for name, works in (("a box", kinds.box), ("points", kinds.points), ("mask_input", kinds.mask_input))
        if works
    ]
    raise PromptNotSupported(
        f"{model} was not trained on {kind} and would answer with a meaningless mask; it understands "
        f"{' and '.join(working)}: send that, or choose another model",
        field=field,
    )
