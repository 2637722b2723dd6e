"""What a folder of runs can do without, and its removal.

Kept are the versions that are in production or were stable before, and the newest one; all that the
newest run has made, and the newest that came to its end; what the runs behind kept versions have
made; and the two models with which the gate compares the next one. Of what else the runs have made,
only what is large goes: what `history`, `why`, the data gate and the count of looks at the test
photos read is small and stays.
"""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd

from data.contract.errors import UserError
from data.contract.model import ACCURACY
from data.contract.nodes import ACTIVATION_CACHE, IMPORT_EXAMPLE_GEN, TRAINER, TUNER
from data.contract.servable import is_complete
from pipeline.lineage.history import made_by_run
from pipeline.outputs import PIPELINE_RUN, read_outputs, run_that_pushed
from pipeline.production.events import Event, Labels, former_stable
from pipeline.pushed_models import MODEL, inputs_behind, pushed_models
from pipeline.workdir import Workdir

_LARGE = (IMPORT_EXAMPLE_GEN, "Transform", ACTIVATION_CACHE, TUNER, TRAINER)
"""The nodes whose outputs grow with the photos, or hold a model."""
_GOING = ".going-"
"""What a folder's name begins with while it is being removed: nothing looks for such a name."""
_UNFINISHED = ".unfinished"
"""What Pusher calls a version that is not complete yet (`components/nodes/pusher.py`)."""


@dataclass(frozen=True)
class Waste:
    """A folder that can go."""

    folder: Path
    what: str
    """In words."""
    size: int
    """Bytes."""
    going: Path
    """What it is called while it is being removed; the same if that had begun."""
    artifact: int | None = None
    """Its id, if MLMD takes it for existing."""


def kept_versions(
    workdir: Workdir, labels: Labels | None, events: Sequence[Event], keep: int
) -> set[int]:
    """The versions that stay.

    Args:
        workdir: the folder.
        labels: those in production; None if nothing was ever promoted.
        events: what has happened there.
        keep: how many of those that were stable before stay, beside those in production.
    """
    there = {int(each.name) for each in _versions(workdir) if is_complete(each)}
    kept = set((labels or {}).values()) | set(sorted(there)[-1:])
    former = [each for each in dict.fromkeys(former_stable(events)) if each in there - kept]
    return kept | set(former[:keep])


def find_waste(workdir: Workdir, store: MetadataStore, kept: set[int]) -> list[Waste]:
    """What can go, versions first.

    The caller holds the locks: nothing may run in the folder.

    Args:
        workdir: the folder.
        store: its metadata.
        kept: the versions that stay.

    Raises:
        UserError: the metadata is that of another folder, so nothing tells what can go.
    """
    live = _live(workdir, store)
    found = [
        Waste(each, f"version {each.name}", _size(each), each.with_name(_GOING + each.name))
        for each in _versions(workdir)
        if int(each.name) not in kept
    ]
    begun = [
        workdir.serving / _UNFINISHED,
        *workdir.serving.glob(f"{_GOING}*"),
        *workdir.pipeline_root.glob(f"{_GOING}*"),
    ]
    found += [
        Waste(each, f"{each.name}, left by what was killed", _size(each), each)
        for each in begun
        if each.is_dir()
    ]
    needed = _needed(store, kept)
    oldest = _first_of_newest_run(store)
    for folder in sorted(
        each for node in _LARGE for each in workdir.pipeline_root.glob(f"{node}/*/*")
    ):
        node, key, name = folder.parts[-3:]
        if not name.isdecimal():
            continue
        going = workdir.pipeline_root / f"{_GOING}{node}-{key}-{name}"
        artifact = live.get(folder.resolve())
        if artifact is None and int(name) < oldest:
            found.append(Waste(folder, f"unfinished {key} {name} of {node}", _size(folder), going))
        elif artifact is not None and artifact not in needed:
            found.append(Waste(folder, f"{key} {name} of {node}", _size(folder), going, artifact))
    return found


def _live(workdir: Workdir, store: MetadataStore) -> dict[Path, int]:
    """The ids of the artifacts that MLMD takes for existing, by their resolved folders: MLMD has
    each under the name by which the run was given the workdir, and that may be another one now.

    Raises:
        UserError: there are some, and none of them lies in the workdir.
    """
    live = {
        Path(artifact.uri).resolve(): artifact.id
        for artifact in store.get_artifacts()
        if artifact.state == mlmd.Artifact.LIVE
    }
    root = workdir.pipeline_root.resolve()
    if live and not any(folder.is_relative_to(root) for folder in live):
        raise UserError(
            f"nothing that {workdir.metadata} knows of lies in {root}, but in such as "
            f"{min(live)}: a folder of runs cannot be moved; move it back and clean it there"
        )
    return live


def remove(store: MetadataStore, waste: Iterable[Waste]) -> None:
    """Removes folders, each in a way that leaves it whole or gone for all who look.

    TFX takes from its cache what MLMD calls live. So MLMD is told first, and makes the artifact
    anew from then on; then the folder gets a name that nothing looks for, and only then it goes.

    Raises:
        OSError: a folder cannot be removed.
    """
    for each in waste:
        if each.artifact is not None:
            (artifact,) = store.get_artifacts_by_id([each.artifact])
            artifact.state = mlmd.Artifact.DELETED
            store.put_artifacts([artifact])
        if each.going != each.folder:
            each.folder.rename(each.going)
        shutil.rmtree(each.going)


def _versions(workdir: Workdir) -> list[Path]:
    """All that are called like a version, complete or not, the oldest first."""
    folders = (
        each
        for each in workdir.serving.glob("*")
        if each.name.isascii() and each.name.isdecimal() and each.is_dir()
    )
    return sorted(folders, key=lambda each: int(each.name))


def _needed(store: MetadataStore, kept: set[int]) -> set[int]:
    """The ids of the artifacts that stay."""
    runs = {run.id: run for run in store.get_contexts_by_type(PIPELINE_RUN)}
    ended = made_by_run(store, "PushedModel", runs)
    newest = {max(found) for found in (runs, ended) if found}
    wanted = {run: runs[run] for run in newest}
    for version in kept:
        if run := run_that_pushed(store, str(version)):
            wanted[run.id] = run
    needed = {
        artifact.id
        for run in wanted.values()
        for artifact in read_outputs(store, run).artifacts.values()
    }
    return needed | set(_compared(store))


def _compared(store: MetadataStore) -> Iterator[int]:
    """The models that the next one must not be worse than: the last one pushed, and the best of the
    others (`components/nodes/baseline.py`)."""
    models = [model for model, _ in pushed_models(store)]
    if not models:
        return
    *others, last = models
    yield last
    evaluations = store.get_artifacts_by_type("ModelEvaluation")
    given = inputs_behind(store, evaluations)
    accuracies = {
        given[each.id][MODEL]: each.custom_properties[ACCURACY].double_value
        for each in sorted(evaluations, key=lambda each: each.id)
        if MODEL in given[each.id]
    }
    there = [
        model.id
        for model in store.get_artifacts_by_id(sorted({*others} - {last}))
        if model.state == mlmd.Artifact.LIVE
    ]
    if there:
        yield max(there, key=lambda model: (accuracies.get(model, 0.0), model))


def _first_of_newest_run(store: MetadataStore) -> int:
    """The lowest id of an execution of the newest run: what has a lower one is of earlier runs."""
    runs = store.get_contexts_by_type(PIPELINE_RUN)
    if not runs:
        return 0
    newest = max(runs, key=lambda run: run.id)
    return min((each.id for each in store.get_executions_by_context(newest.id)), default=0)


def _size(folder: Path) -> int:
    return sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_dir())
