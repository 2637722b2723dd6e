"""Drawn dogs taken as far as Transform's graph, each step once and by the project's own code.

TFX is imported only where a test needs it: that takes half a minute.
"""

import itertools
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from components.model.settings import ModelSettings
from components.training.augmentation_settings import AugmentationSettings
from components.training.settings import TrainingSettings
from data.contract.features import SPLITS
from data.drawn_dogs import draw_dataset
from data.ingest import IngestResult, ingest
from pipeline.config import Config

Artifact = Any
NewArtifact = Callable[[type[Artifact]], Artifact]
ToRemote = Callable[[Artifact], Artifact]
RunNode = Callable[..., dict[str, Artifact]]
Export = Callable[[Any, Path], None]


@pytest.fixture(scope="session")
def config() -> Config:
    """Class names in an order that is neither alphabetical nor that of their frequencies."""
    return Config(
        classes=("sad", "happy", "angry", "relaxed"),
        model=ModelSettings(backbone="tiny", weights="random"),
        training=TrainingSettings(augmentation=AugmentationSettings(mode="cached")),
    )


@pytest.fixture(scope="session")
def new_artifact(tmp_path_factory: pytest.TempPathFactory) -> NewArtifact:
    """Makes an artifact of a type, with an empty folder of its own."""

    def make(kind: type[Artifact]) -> Artifact:
        artifact = kind()
        artifact.uri = str(tmp_path_factory.mktemp(kind.__name__))
        return artifact

    return make


@pytest.fixture(scope="session")
def object_store() -> Iterator[str]:
    """What URIs on TensorFlow's in-memory file system begin with."""
    import tensorflow as tf
    from tensorflow.python.lib.io import file_io

    listed = file_io.list_directory

    def children(folder: str) -> list[str]:
        """It lists `assets.extra` beside the folder `assets` as `.extra` in it, too."""
        return [name for name in listed(folder) if tf.io.gfile.exists(f"{folder}/{name}")]

    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(file_io, "list_directory", children)
        yield "ram://"


@pytest.fixture
def remote(object_store: str, tmp_path: Path) -> str:
    """A remote folder for one test."""
    return f"{object_store}{tmp_path.name}"


@pytest.fixture(scope="session")
def new_remote_artifact(object_store: str) -> NewArtifact:
    """Makes an artifact of a type, with an empty remote folder of its own."""
    import tensorflow as tf

    numbers = itertools.count()

    def make(kind: type[Artifact]) -> Artifact:
        artifact = kind()
        artifact.uri = f"{object_store}{kind.__name__}/{next(numbers)}"
        tf.io.gfile.makedirs(artifact.uri)
        return artifact

    return make


@pytest.fixture(scope="session")
def to_remote(new_remote_artifact: NewArtifact) -> ToRemote:
    """Makes a remote copy of an artifact."""
    from tfx.utils import io_utils

    def copy(artifact: Artifact) -> Artifact:
        remote = new_remote_artifact(type(artifact))
        place = remote.uri
        io_utils.copy_dir(artifact.uri, place)
        remote.copy_from(artifact)
        remote.uri = place
        return remote

    return copy


@pytest.fixture(scope="session")
def run_node(
    config: Config,
    new_artifact: NewArtifact,
    new_remote_artifact: NewArtifact,
    tmp_path_factory: pytest.TempPathFactory,
) -> RunNode:
    """Runs one node of our pipeline here and now, with the properties the pipeline gives it."""
    from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
    from tfx.dsl.components.base.base_executor import BaseExecutor

    from data.contract.model import push_destination
    from pipeline.beam_args import LOCAL_BEAM_ARGS
    from pipeline.pipeline import create_pipeline

    @cache
    def nodes(config: str, serving_root: str) -> dict[str, Any]:
        pipeline = create_pipeline(
            Config.model_validate_json(config),
            pipeline_root="unused",
            data_root="unused",
            push_destination=push_destination(serving_root),
            beam_pipeline_args=LOCAL_BEAM_ARGS,
        )
        return {node.id: node for node in pipeline.components}

    def run(
        name: str,
        inputs: Mapping[str, Artifact | list[Artifact]],
        *,
        config: Config = config,
        serving_root: str = "unused",
        remote: bool = False,
        outputs: Mapping[str, Artifact] = MappingProxyType({}),
    ) -> dict[str, Artifact]:
        node = nodes(config.model_dump_json(), serving_root)[name]
        new = new_remote_artifact if remote else new_artifact
        made = {key: outputs.get(key) or new(channel.type) for key, channel in node.outputs.items()}
        executor = node.executor_spec.executor_class
        place = {"tmp_dir": str(tmp_path_factory.mktemp("tfx")), "unique_id": name}
        context = (
            BaseBeamExecutor.Context(beam_pipeline_args=list(LOCAL_BEAM_ARGS), **place)
            if issubclass(executor, BaseBeamExecutor)
            else BaseExecutor.Context(**place)
        )
        executor(context).Do(
            {key: each if isinstance(each, list) else [each] for key, each in inputs.items()},
            {key: [artifact] for key, artifact in made.items()},
            node.exec_properties,
        )
        return made

    return run


@pytest.fixture(scope="session")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> IngestResult:
    """96 drawn dogs as TFRecords."""
    folder = tmp_path_factory.mktemp("drawn")
    draw_dataset(folder / "photos", per_class=24, seed=0)
    return ingest(folder / "photos", folder / "data")


@pytest.fixture(scope="session")
def examples(ingested: IngestResult, new_artifact: NewArtifact) -> Artifact:
    """The records where the nodes look for them."""
    from tfx.types import artifact_utils, standard_artifacts

    artifact = new_artifact(standard_artifacts.Examples)
    artifact.split_names = artifact_utils.encode_split_names(list(SPLITS))
    for split in SPLITS:
        folder = Path(artifact_utils.get_split_uri([artifact], split))
        folder.mkdir()
        for file in ingested.span_dir.glob(f"{split}-*"):
            shutil.copy(file, folder)
    return artifact


@pytest.fixture(scope="session")
def split_files(ingested: IngestResult) -> dict[str, str]:
    """The pattern of each split's files."""
    return {split: str(ingested.span_dir / f"{split}-*") for split in SPLITS}


@pytest.fixture(scope="session")
def schema(run_node: RunNode) -> Artifact:
    """The curated schema with the class names."""
    return run_node("CuratedSchema", {})["schema"]


@pytest.fixture(scope="session")
def transform_graph(run_node: RunNode, examples: Artifact, schema: Artifact) -> Artifact:
    """What Transform made of the records."""
    return run_node("Transform", {"examples": examples, "schema": schema})["transform_graph"]


@pytest.fixture(scope="session")
def statistics(run_node: RunNode, examples: Artifact) -> Artifact:
    """What StatisticsGen counted in the records."""
    return run_node("StatisticsGen", {"examples": examples})["statistics"]


@pytest.fixture(scope="session")
def activations(
    run_node: RunNode, examples: Artifact, transform_graph: Artifact, statistics: Artifact
) -> Artifact:
    """What ActivationCache made of the records."""
    inputs = {"examples": examples, "transform_graph": transform_graph, "statistics": statistics}
    return run_node("ActivationCache", inputs)["activations"]


@pytest.fixture(scope="session")
def transform(transform_graph: Artifact) -> Any:
    """The graph as training and export take it, a tft.TFTransformOutput."""
    import tensorflow_transform as tft

    return tft.TFTransformOutput(transform_graph.uri)


@pytest.fixture(scope="session")
def export_plainly(config: Config, transform: Any) -> Export:
    """Exports a classifier that says nothing beyond its probabilities."""
    from components.model.answers import Answers
    from components.model.certainty import Certainty
    from components.model.export import export
    from components.model.folded import fold_classifier
    from components.model.freezing import boundary_layer_name

    silent = Answers(
        temperature=1.0,
        val_calibration_error=(0.2, 0.1),
        certain=Certainty(asked=0.8, threshold=None, val_coverage=0.0, val_accuracy=None),
        subject="nobody knows",
    )

    def run(classifier: Any, folder: Path) -> None:
        boundary = boundary_layer_name(classifier.backbone, config.model.unfreeze_layers)
        model = fold_classifier(classifier, boundary, pretrained=None)
        export([model], silent, transform, config.classes, folder)

    return run


@pytest.fixture(scope="session")
def records(split_files: dict[str, str]) -> dict[str, list[bytes]]:
    """The serialized records of each split, in their order."""
    import tensorflow as tf

    return {
        split: [
            record.numpy()
            for record in tf.data.TFRecordDataset(
                tf.data.Dataset.list_files(pattern), compression_type="GZIP"
            )
        ]
        for split, pattern in split_files.items()
    }
