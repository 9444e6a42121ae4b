"""`hilum doctor`: are the services there, and do they work?"""

from __future__ import annotations

import asyncio
import importlib.metadata
import platform
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

import hilum
from hilum.cli.checks import (
    Finding,
    State,
    check_fusion,
    check_health,
    check_models,
    check_registration,
    check_segmentation,
    services_at,
)
from hilum.cli.console import NOT_FOR_DIAGNOSIS, output
from hilum.cli.session import Session
from hilum.served_model import Model

_PACKAGES = ("grpcio", "protobuf", "numpy", "pydicom", "nibabel", "highdicom")
_STYLES = {State.OK: "green", State.WARNING: "yellow", State.FAILED: "red"}


def doctor(
    context: typer.Context,
    *,
    without_fusion: Annotated[bool, typer.Option("--without-fusion", help="Leave the fusion service out.")] = False,
) -> None:
    """Check that the services are reachable, healthy and right, and say what to do where they are not.

    Sends synthetic pictures that are of nobody. Exit code 1 when anything is down, a configured Redis included.
    """
    findings, models = asyncio.run(examine(Session.of(context), fusion=not without_fusion))
    output().print(_report(findings, models))
    if any(finding.state is State.FAILED for finding in findings):
        raise typer.Exit(1)


async def examine(session: Session, *, fusion: bool) -> tuple[list[Finding], list[Model]]:
    """Runs all checks, one after the other, and returns what they found, and the models that are served.

    What needs a service that is down is left out.
    """
    findings = [Finding("connection", State.OK, session.connection)]
    for service in services_at(session.endpoints, fusion=fusion):
        findings += [finding async for finding in check_health(service, session)]
    down = {finding.subject for finding in findings if finding.state is State.FAILED}
    models: list[Model] = []
    async with session.async_client() as client:
        if "encoder" not in down:
            models, finding = await check_models(client)
            findings.append(finding)
        if "decoder" not in down:
            findings += [await check_segmentation(client, model) for model in models]
        if fusion and "fusion" not in down:
            findings += [await check_fusion(client), await check_registration(client)]
    return findings, models


def _report(findings: Sequence[Finding], models: Sequence[Model]) -> Group:
    table = Table(box=None, pad_edge=False, show_header=False)
    for finding in findings:
        state = Text(finding.state.value, style=_STYLES[finding.state])
        table.add_row(state, finding.subject, Text(finding.detail))
    parts: list[RenderableType] = [Text(_versions()), Text(), table]
    if models:
        parts += [Text(), _models(models)]
    steps = list(dict.fromkeys(f"{finding.subject}: {finding.next_step}" for finding in findings if finding.next_step))
    if steps:
        parts += [Text(), Text("What to do next", style="bold"), *(Text(f"- {step}") for step in steps)]
    return Group(*parts, Text(), Text(NOT_FOR_DIAGNOSIS))


def _models(models: Sequence[Model]) -> Table:
    table = Table("model", "input", "prompts", "encoder", "decoder", "runs in", "licence", box=None, pad_edge=False)
    for model in models:
        table.add_row(
            model.name,
            f"{model.image_size_px} px",
            ", ".join(sorted(model.prompts)),
            model.encoder_revision[:12],
            model.decoder_revision[:12],
            f"{model.backend} {model.compute_precision}",
            model.licence,
        )
    return table


def _versions() -> str:
    found = [f"hilum {hilum.__version__}", f"Python {platform.python_version()}"]
    for package in _PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{package} not installed")
    return ", ".join(found)
