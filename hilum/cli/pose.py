"""`hilum pose`: find how a CT volume lay when radiographs were taken."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from hilum.cli.console import NOT_FOR_DIAGNOSIS, output, stage_progress
from hilum.cli.options import checked_outputs
from hilum.cli.session import Session
from hilum.images import read_volume
from hilum.pose import EstimatedPose, UnseenMotion
from hilum.pose_file import read_radiographs, write_pose

FLAGS = {
    "DEPTH_UNOBSERVED": "the place along the viewing direction is not known; the initial one was kept",
    "MOTION_UNOBSERVED": "a motion named above is not known; the initial value was kept",
    "NOT_CONVERGED": "the search did not settle: do not use this pose",
    "LOW_SIMILARITY": "a radiograph does not look like the volume: another patient, or a wrong geometry",
    "LOW_OVERLAP": "less than 40 % of a picture can be compared: the body goes on beyond the volume",
    "STARTS_DISAGREE": "another pose agrees nearly as well",
}


def pose(
    context: typer.Context,
    volume: Annotated[Path, typer.Argument(exists=True, help="The CT: a folder with a DICOM series, or a NIfTI file.")],
    radiographs: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="JSON: one or two images, and how they were taken.")
    ],
    *,
    out: Annotated[list[Path], typer.Option(metavar="FILE", help="pose.json. Repeatable.")],
) -> None:
    """Find the rigid pose in which VOLUME gives RADIOGRAPHS, whose projection geometry is known.

    One radiograph does not show depth: it is kept, flagged, and never guessed.
    """
    outputs = checked_outputs(out, (".json",))
    views, initial = read_radiographs(radiographs)
    with Session.of(context).client() as client, stage_progress("posing") as on_progress:
        found = client.estimate_pose(read_volume(volume), views, initial_pose=initial, on_progress=on_progress)
    for path in outputs:
        write_pose(path, found)
    output().print(pose_report(found))


def pose_report(found: EstimatedPose) -> Group:
    """Returns the matrix, a table of views, and the lines below them."""
    rows = "\n".join("  ".join(f"{value:10.4f}" for value in row) for row in found.patient_to_room)
    views = Table("view", "similarity", "comparable", box=None, pad_edge=False)
    for number, view in enumerate(found.views, 1):
        views.add_row(str(number), f"{view.similarity:.3f}", f"{view.coverage:.0%}")
    lines = [
        *(f"not seen: {_unseen(motion)}" for motion in found.unseen),
        *flag_lines(found.flags),
        f"by {found.algorithm}, {found.total_ms:.0f} ms in the service",
        NOT_FOR_DIAGNOSIS,
    ]
    return Group(Text(f"patient mm to room mm:\n{rows}"), views, Text("\n".join(lines)))


def flag_lines(flags: tuple[str, ...]) -> list[str]:
    """Returns a line per quality flag, with what it means, or one that says that there is none."""
    if not flags:
        return ["no quality flags"]
    return [f"FLAG {flag}: {FLAGS.get(flag, 'unknown to this version of the client')}" for flag in flags]


def _unseen(motion: UnseenMotion) -> str:
    shift, turn = (", ".join(f"{value:.2f}" for value in part) for part in (motion.translation_mm, motion.rotation_deg))
    error = motion.standard_error_mm
    known = "unknown" if error is None else f"standard error {error:.1f} mm"
    return f"shift ({shift}) mm with turn ({turn}) degrees: {known}"
