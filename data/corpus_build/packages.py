"""Debian packages: download, unpack, versions."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Source:
    """One origin of recordings: its packages, licence and the people to name.

    Of a long copyright file only those stanzas are kept that name a file in `kept_stanzas`.
    """

    name: str
    packages: tuple[str, ...]
    license: str
    attribution: str
    content: str
    kept_stanzas: tuple[str, ...]


def load_sources() -> dict[str, Source]:
    """Read the table of sources, by name."""
    rows = json.loads((HERE / "sources.json").read_text(encoding="utf-8"))
    return {
        row["name"]: Source(
            name=row["name"],
            packages=tuple(row["packages"]),
            license=row["license"],
            attribution=row["attribution"],
            content=row["content"],
            kept_stanzas=tuple(row.get("kept_stanzas", ())),
        )
        for row in rows
    }


def run(command: list[str], cwd: Path | None = None) -> str:
    """Run a program; its complaint becomes the error's text."""
    try:
        done = subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise RuntimeError(
            f"{command[0]}: no such program; the corpus needs the Debian tools listed in "
            "data/README.md. Install them with apt-get install."
        ) from error
    except subprocess.CalledProcessError as error:
        raise RuntimeError(
            f"{' '.join(command)}: exit status {error.returncode}; it must be 0. "
            f"Its message: {error.stderr.strip()[-400:]}"
        ) from error
    return done.stdout


def unpack(package: str, work: Path) -> Path:
    """Download a package once and return the folder that holds its files."""
    folder = work / "packages" / package
    if (folder / ".version").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    run(["apt-get", "download", package], cwd=folder)
    archives = sorted(folder.glob("*.deb"))
    if len(archives) != 1:
        raise RuntimeError(
            f"{folder}: {len(archives)} archives; there must be one after a download. "
            "Empty the folder and run again."
        )
    run(["dpkg-deb", "-x", str(archives[0]), str(folder)])
    version = run(["dpkg-deb", "-f", str(archives[0]), "Version"]).strip()
    archives[0].unlink()
    (folder / ".version").write_text(version, encoding="utf-8")
    return folder


def version_of(package: str, work: Path) -> str:
    """Version of a package that `unpack` has fetched."""
    return (unpack(package, work) / ".version").read_text(encoding="utf-8")


def copyright_of(package: str, work: Path) -> str:
    """The copyright file that Debian ships with a package."""
    path = unpack(package, work) / "usr/share/doc" / package / "copyright"
    return path.read_text(encoding="utf-8", errors="replace")
