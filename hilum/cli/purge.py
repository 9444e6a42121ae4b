"""`hilum purge`: have the services delete what they keep of images or of a group."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from hilum.cli.console import output
from hilum.cli.options import GroupOption
from hilum.cli.session import Session

_DIGEST = re.compile(r"[0-9a-f]{64}")


def parse_digest(text: str) -> bytes:
    """Returns an image digest of its hex digits."""
    if not _DIGEST.fullmatch(text.lower()):
        raise typer.BadParameter("an image digest has 64 hex digits")
    return bytes.fromhex(text)


DigestOption = Annotated[
    list[bytes] | None,
    typer.Option(parser=parse_digest, metavar="HEX", help="SHA-256 of an image's pixels. Repeatable."),
]


def purge(context: typer.Context, *, group: GroupOption = "", digest: DigestOption = None) -> None:
    """Delete what the services keep of a group's images, or of images by digest: embeddings and transforms.

    Small targets and clicks are encoded as regions, which only their group finds. Exit code 1 when a service has not
    confirmed that its memory is clear.
    """
    if not group and not digest:
        raise typer.BadParameter("give at least one", param_hint=["--group", "--digest"])
    with Session.of(context).client() as client:
        purged = client.purge(digests=digest or [], group=group)
    console = output()
    console.print(
        f"deleted: {purged.embeddings} embeddings and {purged.transforms} transforms from the shared cache, "
        f"{purged.memory_copies} copies from memory",
        soft_wrap=True,
    )
    console.print(f"replicas: {purged.replicas_confirmed} confirmed, {purged.replicas_pending} pending")
    if purged.replicas_pending:
        raise typer.Exit(1)
