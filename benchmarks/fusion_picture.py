"""Sources and fused pictures side by side, by rules and by styles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.fusion_pairs import Pair
from services.fusion.blend import alpha_blend
from services.fusion.checkerboard import checkerboard
from services.fusion.overlay import colour_overlay

Grey = NDArray[np.uint8]
Colour = NDArray[np.uint8]

HEIGHT_PX = 300
_BAND_PX = 22
_NOTE = "not for diagnosis"
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
        rows.append(_titled(f"{title}; {_NOTE}", _row(tiles)))
    _write(path, rows)


def write_styles(path: Path, pair: Pair, fused: dict[str, Grey]) -> None:
    """Writes a PNG of a pair of set (a): both images, what rules make of them, and the other styles.

    Args:
        path: where to; its folder is made.
        pair: a CT projection and a simulated X-ray, the patient's right on the left.
        fused: fused pictures by rule.
    """
    both, everywhere = (pair.fixed, pair.moving), np.ones(pair.fixed.shape, np.bool_)
    images = {
        "R   CT projection": pair.fixed,
        "simulated X-ray": pair.moving,
        "average": fused["average"],
        "the founding paper's rule": fused["paper"],
    }
    styles = {
        "R   Hilum's pyramid": fused["hilum"],
        "colour overlay": colour_overlay(*both, 0.5),
        "alpha blend": alpha_blend(*both, everywhere, 0.5),
        "checkerboard": checkerboard(*both, everywhere),
    }
    _write(path, [_row(images), _titled(_NOTE, _row(styles))])


def _write(path: Path, rows: Sequence[Colour]) -> None:
    width = max(row.shape[1] for row in rows)
    page = np.vstack([np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows])
    path.parent.mkdir(parents=True, exist_ok=True)
    # OpenCV's order is blue, green, red.
    cv2.imwrite(str(path), page[..., ::-1])


def _row(tiles: Mapping[str, Grey]) -> Colour:
    return np.hstack([_titled(name, _tile(picture)) for name, picture in tiles.items()])


def _tile(picture: Grey) -> Colour:
    height, width = picture.shape[:2]
    size = (round(width * HEIGHT_PX / height), HEIGHT_PX)
    tile = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    return tile if tile.ndim == 3 else np.repeat(tile[..., None], 3, axis=2)


def _titled(text: str, tile: Colour) -> Colour:
    band = np.zeros((_BAND_PX, tile.shape[1], 3), np.uint8)
    cv2.putText(band, text, (4, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
    return np.vstack([band, tile])
