"""Installing tritonserver; tests/integration/test_triton.py runs what is installed."""

from pathlib import Path

import pytest

from deploy.triton.install import REQUIREMENTS, Installation, InstallationError, install


@pytest.fixture
def complete(tmp_path: Path) -> Installation:
    """A folder with all that a complete installation is judged by, and no server that could run."""
    installation = Installation(tmp_path / "triton")
    for path in (installation.server, installation.stub, installation.published_stub):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("executable")
    (installation.folder / "requirements.txt").write_bytes(REQUIREMENTS.read_bytes())
    return installation


@pytest.fixture
def no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets pip find no package anywhere."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)


@pytest.mark.usefixtures("no_index")
def test_an_installed_server_is_found(complete: Installation) -> None:
    """A second installation asks pip for nothing and tells of no step."""
    steps: list[str] = []
    assert install(complete.folder, steps.append) == complete
    assert steps == []


def test_another_version_or_python_is_not_complete(complete: Installation) -> None:
    """A server of other requirements, or with the stub of another Python, has to be installed again."""
    complete.stub.write_text("another Python's")
    assert not complete.is_complete()
    complete.stub.write_bytes(complete.published_stub.read_bytes())
    assert complete.is_complete()
    (complete.folder / "requirements.txt").write_text("another version")
    assert not complete.is_complete()


@pytest.mark.usefixtures("no_index")
def test_a_failed_installation_says_why_and_changes_nothing(complete: Installation) -> None:
    """When pip cannot get the wheel, its reason is told, and what was installed before stays."""
    complete.stub.write_text("another Python's")
    with pytest.raises(InstallationError, match="nvidia-pytriton"):
        install(complete.folder)
    assert complete.stub.read_text() == "another Python's"
    assert [path.name for path in complete.folder.parent.iterdir()] == ["triton"]
