"""Sources and fused pictures side by side, by rules and by styles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.fusion_pairs import Pair
from examples.demo.pictures import Panel, write
from services.fusion.blend import alpha_blend
from services.fusion.checkerboard import checkerboard
from services.fusion.overlay import colour_overlay

Grey = NDArray[np.uint8]

HEIGHT_PX = 300
_BAND_PX = 22
_TITLES = {"maximum": "pixel maximum", "paper": "paper's rule", "hilum": "default", "gradients": "with gradients"}


def write_picture(path: Path, shown: Sequence[tuple[str, Pair, dict[str, Grey]]]) -> None:
    """Writes a PNG with a row per pair: its sources, then what each rule makes of them.

    Args:
        path: where to; its folder is made.
        shown: title, pair, and fused pictures by rule.
    """
    rows = []
    for title, pair, fused in shown:
        tiles = {f"({pair.name}) fixed": pair.fixed, "moving": pair.moving}
        tiles |= {_TITLES.get(name, name): picture for name, picture in fused.items() if name != "target"}
        row = np.hstack([_tile(name, picture) for name, picture in tiles.items()])
        rows.append(np.vstack([_words(f"{title}; not for diagnosis", row.shape[1]), row]))
    width = max(row.shape[1] for row in rows)
    page = np.vstack([np.pad(row, ((0, 0), (0, width - row.shape[1]))) for row in rows])
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), page)


def write_styles(path: Path, pair: Pair, fused: dict[str, Grey]) -> None:
    """Writes a PNG of a pair of set (a): both images, what rules make of them, and the other styles.

    Args:
        path: where to; its folder is made.
        pair: a CT projection and a simulated X-ray.
        fused: fused pictures by rule.
    """
    both, everywhere = (pair.fixed, pair.moving), np.ones(pair.fixed.shape, np.bool_)
    panels = [
        Panel("CT projection", pair.fixed),
        Panel("simulated X-ray", pair.moving),
        Panel("average", fused["average"]),
        Panel("the founding paper's rule", fused["paper"]),
        Panel("Hilum's pyramid", fused["hilum"]),
        Panel("colour overlay", colour_overlay(*both, 0.8)),
        Panel("alpha blend", alpha_blend(*both, everywhere, 0.5)),
        Panel("checkerboard", checkerboard(*both, everywhere)),
    ]
    write(path, panels, 4)


def _tile(name: str, picture: Grey) -> Grey:
    height, width = picture.shape
    size = (round(width * HEIGHT_PX / height), HEIGHT_PX)
    tile = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    return np.vstack([_words(name, tile.shape[1]), tile])


def _words(text: str, width: int) -> Grey:
    band = np.zeros((_BAND_PX, width), np.uint8)
    cv2.putText(band, text, (4, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255,), 1, cv2.LINE_AA)
    return band
