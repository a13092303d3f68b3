"""What is installed is the package, and nothing else."""

import subprocess
import zipfile
from email import message_from_bytes
from pathlib import Path, PurePosixPath

import pytest

from ..support.programs import program
from ..support.servers import ROOT


@pytest.mark.slow
def test_the_wheel_has_nothing_but_the_package(tmp_path: Path) -> None:
    subprocess.run(
        [program("uv"), "build", "--quiet", "--wheel", "--out-dir", str(tmp_path), str(ROOT)],
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        told = message_from_bytes(archive.read(metadata))
    folder = PurePosixPath(metadata).parent
    own = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "media_asgi").rglob("*")
        if path.suffix not in (".md", ".pyc") and path.is_file()
    }
    about = {"METADATA", "RECORD", "WHEEL", "licenses/LICENSE"}
    assert names == own | {str(folder / name) for name in about}
    needed = {
        requirement.split(">")[0].lower()
        for requirement in told.get_all("Requires-Dist", [])
        if "extra ==" not in requirement
    }
    assert needed == {"aiofiles", "asgiref", "django"}
