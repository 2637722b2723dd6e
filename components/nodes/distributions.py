"""The nodes that compare two sets of photos: TFX's DistributionValidator, and what it compares."""

import io
import json
from typing import Any

from ml_metadata import MetadataStore
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx import types
from tfx.components.distribution_validator import executor
from tfx.components.example_gen.utils import SPAN_PROPERTY_NAME
from tfx.components.statistics_gen import stats_artifact_utils
from tfx.dsl.component.experimental.annotations import OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.dsl.components.common.resolver import ResolverStrategy
from tfx.dsl.io import fileio
from tfx.proto import distribution_validator_pb2
from tfx.types import artifact_utils, standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.utils import io_utils, json_utils

from components.data_gate.checks import limits_for
from components.data_gate.settings import Limits
from components.errors import ComponentError
from data.contract import features
from data.contract.features import TRAIN

SERVED = "served"
"""The split of the photos that were served."""

LET_THROUGH = "statistics"
"""The property of a verdict of the data gate that holds the id of the statistics it is about."""

AGAINST = "against"
"""The property of the anomalies that says what was compared with; there is none if nothing was."""


class EarlierSpanStrategy(ResolverStrategy):
    """Resolves the statistics of the newest earlier span that the data gate has let through.

    A span that was stopped is no measure for the next one: it would let the same photos pass at the
    second try. Earlier is what the store has known for longer than this run's examples: numbers of
    spans begin anew when all spans are deleted.
    """

    def resolve_artifacts(
        self,
        store: MetadataStore,
        input_dict: dict[str, list[types.Artifact]],
    ) -> dict[str, list[types.Artifact]]:
        """Chooses among the artifacts of the pipeline.

        Args:
            store: the metadata store.
            input_dict: this run's examples under `current`; all statistics under `statistics`; all
                anomalies under `verdict`, of which the data gate's name the statistics that they
                let through.

        Returns:
            The earlier statistics and their verdict, or none.
        """
        (current,) = input_dict["current"]
        verdicts = [
            each
            for each in input_dict["verdict"]
            if each.get_int_custom_property(LET_THROUGH) and each.id < current.id
        ]
        last = max(verdicts, key=lambda each: each.id, default=None)
        passed = last.get_int_custom_property(LET_THROUGH) if last else None
        return {
            "current": [current],
            "statistics": [each for each in input_dict["statistics"] if each.id == passed],
            "verdict": [last] if last else [],
        }


def span_of(examples: types.Artifact) -> int:
    """The number of the span that ImportExampleGen has read; 0 where a platform does not keep it.

    It is no property that TFX declares, and StatisticsGen does not pass it on.
    """
    return int(examples.get_int_custom_property(SPAN_PROPERTY_NAME))


@component
def ServedStatistics(  # noqa: N802 (a TFX component is named like a class)
    statistics: OutputArtifact[standard_artifacts.ExampleStatistics],
    table: Parameter[str],
    code: Parameter[str],
) -> None:
    """Counts the photos that were served, as StatisticsGen counts those trained on.

    Args:
        statistics: the counts.
        table: a CSV table with a column for each feature and a row for each photo.
        code: a hash of the code that runs here, for the cache.
    """
    write_statistics(count(table), SERVED, statistics)


def count(table: str) -> statistics_pb2.DatasetFeatureStatisticsList:
    """The statistics of photos.

    Args:
        table: a CSV table with a column for each feature and a row for each photo.
    """
    import pandas as pd  # comes with TFDV, which takes its tables
    import tensorflow_data_validation as tfdv

    types_of = {features.LABEL: str, features.BRIGHTNESS: float}
    photos = pd.read_csv(io.StringIO(table), dtype=types_of, keep_default_na=False)
    return tfdv.generate_statistics_from_dataframe(photos)


def write_statistics(
    counted: statistics_pb2.DatasetFeatureStatisticsList, split: str, statistics: types.Artifact
) -> None:
    """Makes an artifact the statistics of one split.

    Args:
        counted: the statistics.
        split: its name.
        statistics: with a folder of its own.
    """
    statistics.split_names = artifact_utils.encode_split_names([split])
    folder = artifact_utils.get_split_uri([statistics], split)
    file = f"{folder}/{stats_artifact_utils.BINARY_PB_BASENAME}"
    io_utils.write_bytes_file(file, counted.SerializeToString(deterministic=True))


class DistributionValidatorSpec(ComponentSpec):
    """TFX's, with our limits, and without a baseline if there is none."""

    PARAMETERS = {  # noqa: RUF012 (TFX's form)
        "pair": ExecutionParameter(type=str),
        "compared": ExecutionParameter(type=str),
        "limits": ExecutionParameter(type=str),
        "code": ExecutionParameter(type=str),
    }
    INPUTS = {  # noqa: RUF012
        standard_component_specs.STATISTICS_KEY: ChannelParameter(
            type=standard_artifacts.ExampleStatistics
        ),
        standard_component_specs.BASELINE_STATISTICS_KEY: ChannelParameter(
            type=standard_artifacts.ExampleStatistics, optional=True
        ),
        "baseline_verdict": ChannelParameter(
            type=standard_artifacts.ExampleAnomalies, optional=True
        ),
    }
    OUTPUTS = {  # noqa: RUF012
        standard_component_specs.ANOMALIES_KEY: ChannelParameter(
            type=standard_artifacts.ExampleAnomalies
        )
    }


class DistributionValidatorExecutor(executor.Executor):
    """TFX's executor, whose limits allow for the number of photos."""

    def Do(  # noqa: N802 (TFX's name)
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> Any:
        pair = json.loads(exec_properties["pair"])
        config = distribution_validator_pb2.DistributionValidatorConfig()
        key = standard_component_specs.BASELINE_STATISTICS_KEY
        baselines = input_dict.get(key, [])
        if baselines:
            (statistics,) = input_dict[standard_component_specs.STATISTICS_KEY]
            (baseline,) = baselines
            verdicts = input_dict.get("baseline_verdict")
            whose = f"of span {verdicts[0].span}" if verdicts else "trained on"
            photos = [
                _photos(statistics, pair[0], "of this run"),
                _photos(baseline, pair[1], whose),
            ]
            limits = Limits.model_validate_json(exec_properties["limits"])
            compared = json.loads(exec_properties["compared"])
            for feature, limit in limits_for(limits, compared, *photos).items():
                config.default_slice_config.feature.append(_comparator(feature, limit))
            (anomalies,) = output_dict[standard_component_specs.ANOMALIES_KEY]
            anomalies.set_string_custom_property(
                AGAINST, f"{photos[0]:,} photos against {photos[1]:,} {whose}"
            )
        given = {
            standard_component_specs.INCLUDE_SPLIT_PAIRS_KEY: json_utils.dumps([pair]),
            standard_component_specs.DISTRIBUTION_VALIDATOR_CONFIG_KEY: config,
        }
        return super().Do({**input_dict, key: baselines}, output_dict, given)


def _photos(statistics: types.Artifact, split: str, whose: str) -> int:
    """How many photos a split has.

    Raises:
        ComponentError: the statistics are gone.
    """
    folder = artifact_utils.get_split_uri([statistics], split)
    file = f"{folder}/{stats_artifact_utils.BINARY_PB_BASENAME}"
    if not fileio.exists(file):
        raise ComponentError(
            f"{file} is gone, the statistics of the photos {whose}: without them nothing tells "
            "whether these differ; put it back or begin in another folder"
        )
    (counted,) = stats_artifact_utils.load_statistics(statistics, split).proto().datasets
    return int(counted.num_examples)


def _comparator(feature: str, limit: float) -> distribution_validator_pb2.FeatureComparator:
    message = distribution_validator_pb2.FeatureComparator(path={"step": [feature]})
    comparator = message.distribution_comparator
    if feature == features.LABEL:
        comparator.infinity_norm.threshold = limit
    else:
        comparator.jensen_shannon_divergence.threshold = limit
        # Of two histograms with bars of equal width, one of photos that are all 512 pixels wide and
        # one where a single photo is smaller are as unlike as can be: the divergence is 1.
        comparator.jensen_shannon_divergence.source.type = "QUANTILES"
    return message


class DistributionValidator(BaseComponent):
    """How one split of some statistics differs from one of others, feature by feature."""

    SPEC_CLASS = DistributionValidatorSpec
    EXECUTOR_SPEC = ExecutorClassSpec(DistributionValidatorExecutor)

    def __init__(
        self,
        *,
        statistics: types.BaseChannel,
        baseline_statistics: types.BaseChannel,
        baseline_verdict: types.BaseChannel | None = None,
        pair: tuple[str, str] = (TRAIN, TRAIN),
        compared: list[str],
        limits: Limits,
        code: str,
    ) -> None:
        """Every argument is part of the key under which TFX caches the comparison.

        Args:
            statistics: what is compared.
            baseline_statistics: what it is compared with; there may be none.
            baseline_verdict: the data gate's on the span that those are of, if they are of another.
            pair: the split of each.
            compared: the features.
            limits: how far they may differ.
            code: hash of the code that runs inside the node.
        """
        super().__init__(
            DistributionValidatorSpec(
                statistics=statistics,
                baseline_statistics=baseline_statistics,
                baseline_verdict=baseline_verdict,
                pair=json.dumps(pair),
                compared=json.dumps(compared),
                limits=limits.model_dump_json(),
                code=code,
                anomalies=types.Channel(type=standard_artifacts.ExampleAnomalies),
            )
        )
