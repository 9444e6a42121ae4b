"""Accuracy of the demo's segmentations over running services: Dice against the CT's labels, boxes jittered by 5 px."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.report import main
from examples.demo.accuracy import MEASURED_WIDTHS
from examples.demo.accuracy import measure as rows
from examples.demo.ct_volume import load_ct_volume
from examples.demo.running_services import RunningServices
from examples.demo.truth import Mask
from hilum import Box, Client, Image, Prompt


def measure() -> dict[str, float]:
    """Returns the mean Dice per required target, least over widths and both lungs: CT liver, CT lung, X-ray lung."""
    with (
        tempfile.TemporaryDirectory() as folder,
        RunningServices(Path(folder) / "services.log") as services,
        Client(services.endpoints) as client,
    ):

        def segment(image: Image, box: Box) -> Mask:
            return client.predict(image, [Prompt(box=box)]).masks[0][0].mask

        means: dict[str, list[float]] = {}
        volume = load_ct_volume()
        for row in (row for width in MEASURED_WIDTHS for row in rows(volume, segment, width)):
            if row.required is None:
                continue
            kind = "xray" if "X-ray" in row.image else "ct"
            means.setdefault(f"dice_{kind}_{row.target.rsplit(' ', maxsplit=1)[-1]}", []).append(row.mean)
    return {name: min(values) for name, values in means.items()}


if __name__ == "__main__":
    main(measure)
