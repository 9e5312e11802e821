"""Packaging: a booster becomes a BentoML model, and with the service's code a bento.

``python -m bentos.packaging MODEL.ubj --label model_version=3 ...`` prints the tags as JSON.
Versions are content hashes, so packaging the same thing twice gives the same tags and no second
bento.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from resources import service_code, telemetry
from resources.settings import PROJECT, get_settings

BENTO_NAME = "liftgraph"
SERVICE = "bentos.service:LiftGraph"
VERSION_LENGTH = 16
# What a container installs; pinned to what is installed here.
PACKAGES = (
    "bentoml",
    "cryptography",
    "fastapi",
    "filelock",
    "highspy",
    "httptools",
    "jinja2",
    "narwhals",
    "numpy",
    "orjson",
    "polars",
    "prometheus-client",
    "pydantic",
    "pydantic-settings",
    "scipy",
    "sqlalchemy",
    "tzdata",
    "uvloop",
    "xgboost",
)
# Ten times the usual: a build that takes longer hangs.
BUILD_TIMEOUT_SECONDS = 120


class PackagingError(RuntimeError):
    """The model could not be packaged; the message holds BentoML's own."""


@dataclass(frozen=True)
class Packaged:
    """What packaging made.

    Attributes:
        bento: Tag of the bento, ``liftgraph:<hash of model, labels and code>``.
        model: Tag of the BentoML model, ``liftgraph_ranker:<hash of booster and labels>``.
        built: False when the same bento was there already.
        seconds: Wall time.
    """

    bento: str
    model: str
    built: bool
    seconds: float


def package(model_ubj: Path | bytes, labels: Mapping[str, str], *, bentoml_home: Path) -> Packaged:
    """Package a booster in a process of its own: BentoML changes folder and stores globally.

    Args:
        model_ubj: The booster as UBJSON, or the path of its file; a classifier and its
            calibration that lie beside that file are packaged with it. Never a pickle.
        labels: ``model_version``, ``data_snapshot``, ``feature_set_hash`` and ``git_revision``.
        bentoml_home: Where models and bentos are stored.

    Returns:
        The tags.

    Raises:
        PackagingError: A label is missing, the booster is damaged, or BentoML failed.
    """
    with tempfile.TemporaryDirectory(prefix="liftgraph-package-") as folder:
        if isinstance(model_ubj, bytes):
            path = Path(folder) / "model.ubj"
            path.write_bytes(model_ubj)
        else:
            path = model_ubj
        command = [sys.executable, "-m", __spec__.name, str(path.absolute())]
        for name, value in labels.items():
            command += ["--label", f"{name}={value}"]
        done = subprocess.run(  # noqa: S603 - our own module, no shell
            command,
            cwd=PROJECT,
            env={**os.environ, "BENTOML_HOME": str(bentoml_home.absolute())},
            capture_output=True,
            text=True,
            timeout=BUILD_TIMEOUT_SECONDS,
            check=False,
        )
    if done.returncode != 0:
        raise PackagingError(done.stderr.strip() or f"packaging ended with {done.returncode}")
    return Packaged(**json.loads(done.stdout.strip().splitlines()[-1]))


def package_here(model_ubj: Path, labels: Mapping[str, str]) -> Packaged:
    """As ``package``, in this process and the stores of ``BENTOML_HOME``, which must be set."""
    import bentoml
    from bentoml.exceptions import BentoMLException, NotFound

    from bentos.ranker_model import (
        MODEL_NAME,
        REQUIRED_LABELS,
        ModelError,
        read_booster,
        read_probabilities,
    )

    started = time.perf_counter()
    missing = [name for name in REQUIRED_LABELS if not labels.get(name)]
    if missing:
        raise PackagingError(f"label(s) {', '.join(missing)} are missing: every model is traceable")
    if not model_ubj.is_file():
        raise PackagingError(f"there is no model file {model_ubj}: train a model first")

    digests = [_file_digest(file) for file in _model_files(model_ubj)]
    model_tag = f"{MODEL_NAME}:{_version(digests, labels)}"
    bento_tag = f"{BENTO_NAME}:{_version(model_tag, source_digests(PROJECT), _requirements())}"
    try:
        try:
            bentoml.models.get(model_tag)
        except NotFound:
            booster = read_booster(model_ubj, name=str(model_ubj))
            read_probabilities(model_ubj.parent, name=str(model_ubj), ranker=booster)
            _save_model(model_tag, model_ubj, labels)
        try:
            bentoml.bentos.get(bento_tag)
            built = False
        except NotFound:
            _build(bento_tag, model_tag, labels)
            built = True
    except ModelError as error:
        raise PackagingError(str(error)) from error
    except BentoMLException as error:
        raise PackagingError(f"BentoML could not package {bento_tag}: {error}") from error
    _mark_latest(model_tag, bento_tag)
    return Packaged(
        bento=bento_tag,
        model=model_tag,
        built=built,
        seconds=round(time.perf_counter() - started, 3),
    )


def source_digests(project: Path) -> dict[str, str]:
    """SHA-256 of every source file that goes into a bento, by path."""
    return {
        str(path.relative_to(project)): _file_digest(path) for path in service_code.files(project)
    }


def _save_model(tag: str, model_ubj: Path, labels: Mapping[str, str]) -> None:
    import bentoml

    from bentos.ranker_model import MODEL_FILE

    with bentoml.models.create(tag, labels=dict(labels)) as model:
        shutil.copyfile(model_ubj, model.path_of(MODEL_FILE))
        for extra in _model_files(model_ubj)[1:]:
            shutil.copyfile(extra, model.path_of(extra.name))


def _model_files(model_ubj: Path) -> list[Path]:
    """The booster, and beside it what tells probabilities, if it is there."""
    from bentos.ranker_model import PROBABILITY_FILES

    beside = [model_ubj.parent / name for name in PROBABILITY_FILES]
    return [model_ubj, *(file for file in beside if file.is_file())]


def _build(tag: str, model_tag: str, labels: Mapping[str, str]) -> None:
    import bentoml

    name, _, version = tag.partition(":")
    with tempfile.TemporaryDirectory(prefix="liftgraph-bento-") as folder:
        # From a copy: BentoML would match every file of .venv and of the lake against its patterns.
        for source in service_code.files(PROJECT):
            target = Path(folder) / source.relative_to(PROJECT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        bentoml.bentos.build(
            SERVICE,
            name=name,
            version=version,
            labels=dict(labels),
            description="Ranked offers for households; see /openapi.json of the running service.",
            include=list(service_code.INCLUDE),
            # Locking would ask a package index; the versions are pinned already.
            python={"packages": _requirements(), "lock_packages": False},
            models=[model_tag],
            build_ctx=folder,
        )


def _mark_latest(model_tag: str, bento_tag: str) -> None:
    """Make ``latest`` the one packaged last: BentoML means the one built last, which may be older.

    Who packages an earlier champion again wants that one served.
    """
    for kind, tag in (("models", model_tag), ("bentos", bento_tag)):
        name, _, version = tag.partition(":")
        folder = Path(os.environ["BENTOML_HOME"]) / kind / name
        unfinished = folder / f".latest-{os.getpid()}"
        unfinished.write_text(version)
        unfinished.replace(folder / "latest")


def _requirements() -> list[str]:
    return [f"{name}=={metadata.version(name)}" for name in PACKAGES]


def _version(*parts: object) -> str:
    text = json.dumps(parts, sort_keys=True, default=dict)
    return hashlib.sha256(text.encode()).hexdigest()[:VERSION_LENGTH]


def _file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="bentos.packaging", description=__doc__)
    parser.add_argument("model", type=Path, help="the booster's UBJSON file")
    parser.add_argument(
        "--label", action="append", default=[], metavar="NAME=VALUE", help="repeat for each label"
    )
    given = parser.parse_args(arguments)
    telemetry.switch_off()
    # Without it BentoML would write into the user's own home.
    os.environ.setdefault("BENTOML_HOME", str(get_settings().bentoml_home))
    labels = dict(label.split("=", 1) for label in given.label)
    try:
        packaged = package_here(given.model, labels)
    except PackagingError as error:
        sys.exit(f"packaging failed: {error}")
    print(json.dumps(asdict(packaged)))


if __name__ == "__main__":
    main()
