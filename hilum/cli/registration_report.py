"""What `hilum register` says about a registration."""

from __future__ import annotations

from base64 import b64encode

from rich.console import Group
from rich.table import Table
from rich.text import Text

from hilum.cli.console import NOT_FOR_DIAGNOSIS
from hilum.types import DeformationReport, Registration, StageReport
from hilum.volume_registration import VolumeRegistrationResult

FLAGS = {
    "VIEWS_DIFFER": "a slab was registered to a projection: a coarse alignment, and depth is unknown",
    "LOW_OVERLAP": "the images share less than half of the fixed image's body",
    "LARGE_DEFORMATION": "rotation, scale or shift beyond what was searched, or a very strong bend",
    "FOLDING": "the displacement field folds: it is no map there",
    "MASKS_REJECTED": "the targets led away from what the images show and were left out",
    "MASKS_DISAGREE": "targets agree less than half after registration, by Dice",
    "UNVERIFIED_MODALITY_PAIR": "how well images of these modalities are registered was not measured, or they were not "
    "registered well; `hilum doctor` lists the pairs that were",
    "NO_IMPROVEMENT": "no alignment stands out, from its neighbours and from mirror images: perhaps not the same body",
}


def registration_report(registration: Registration) -> Group:
    """Returns tables of stages and targets, and the lines below them."""
    lines = [
        f"match loss {registration.match_loss_before:.4f} before, {registration.match_loss_after:.4f} after "
        "(lower is better)",
        *(
            f"target {number}: Dice {target.dice_before:.3f} before, {target.dice_after:.3f} after"
            for number, target in enumerate(registration.targets, 1)
        ),
        *_deformation_lines(registration.deformation, "areas", f"{registration.inverse_residual_px:.3g} px"),
        *(
            f"landmark {number}: {error:.2f} px after"
            for number, error in enumerate(registration.landmark_errors_px, 1)
        ),
        f"the moving image covers {registration.overlap_fraction:.0%} of the fixed image's body",
        *_last_lines(registration),
    ]
    return Group(_stage_table(registration.stages), Text("\n".join(lines)))


def volume_report(result: VolumeRegistrationResult) -> Group:
    """Returns a table of stages and the lines below it."""
    lines = [
        f"structure agrees by {result.similarity_before:.4f} before, {result.similarity_after:.4f} after; a slip would "
        f"cost {result.distinctness:.4f}",
        *_deformation_lines(result.deformation, "volumes", f"{result.inverse_residual_mm:.3g} mm"),
        f"the moving volume covers {result.overlap_fraction:.0%} of the fixed volume's body",
        *_last_lines(result),
    ]
    return Group(_stage_table(result.stages), Text("\n".join(lines)))


def _stage_table(reports: tuple[StageReport, ...]) -> Table:
    stages = Table("stage", "kept", "similarity before", "after", box=None, pad_edge=False)
    for stage in reports:
        kept = "yes" if stage.accepted else "no"
        stages.add_row(stage.stage, kept, f"{stage.similarity_before:.4f}", f"{stage.similarity_after:.4f}")
    return stages


def _deformation_lines(bent: DeformationReport | None, measured: str, missed: str) -> list[str]:
    if bent is None:
        return []
    return [
        f"deformation: {measured} change by a factor of {bent.least_jacobian:.2f} to {bent.largest_jacobian:.2f}, "
        f"{bent.folding_fraction:.2%} folds; the inverse misses by at most {missed}"
    ]


def _last_lines(registration: Registration | VolumeRegistrationResult) -> list[str]:
    transform = registration.transform
    return [
        *flag_lines(transform.flags),
        f"transform {b64encode(transform.transform_id).decode()} by {transform.algorithm}, "
        f"{registration.total_ms:.0f} ms in the service",
        NOT_FOR_DIAGNOSIS,
    ]


def flag_lines(flags: tuple[str, ...]) -> list[str]:
    """Returns a line per quality flag, with what it means, or one that says that there is none."""
    if not flags:
        return ["no quality flags"]
    return [f"FLAG {flag}: {FLAGS.get(flag, 'unknown to this version of the client')}" for flag in flags]
