"""The data gate: nothing is learnt from data that is broken, or other than it was."""

import json

from pydantic import TypeAdapter
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx import types
from tfx.components.distribution_validator.executor import DEFAULT_FILE_NAME
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import io_utils

from components.data_gate import checks
from components.data_gate.checks import Check
from components.data_gate.settings import DRIFT, SKEW, Waiver
from components.errors import ComponentError
from components.nodes.distributions import AGAINST, LET_THROUGH, span_of

CHECKS = "checks.json"
"""The file in the verdict."""
WAIVED = "waived"
"""The property of the verdict that lists what passed for the reason that someone gave, as JSON."""

_NO_EARLIER = "the data gate has let no earlier span through: there is nothing to compare with"
_NOT_HERE = "not looked for: on this platform a run does not find the statistics of another"
_NONE_SERVED = "not looked for: data_gate.served names no photos"


@component
def DataGate(  # noqa: N802 (a TFX component is named like a class)
    examples: InputArtifact[standard_artifacts.Examples],
    statistics: InputArtifact[standard_artifacts.ExampleStatistics],
    anomalies: InputArtifact[standard_artifacts.ExampleAnomalies],
    verdict: OutputArtifact[standard_artifacts.ExampleAnomalies],
    waivers: Parameter[str],
    code: Parameter[str],
    drift: InputArtifact[standard_artifacts.ExampleAnomalies] = None,
    skew: InputArtifact[standard_artifacts.ExampleAnomalies] = None,
) -> None:
    """Fails the run unless everything found in the data is within its limit or waived.

    Args:
        examples: the records.
        statistics: what was counted in them.
        anomalies: what ExampleValidator found in them, in any split.
        verdict: receives every check, and as properties the id of the statistics and the waivers
            that were needed.
        waivers: those of the configuration, as JSON.
        code: a hash of the code that runs here, for the cache.
        drift: how the training photos differ from those of an earlier span.
        skew: how the photos served differ from the training photos.

    Raises:
        ComponentError: names the feature, the value, the limit and the fix of each finding.
    """
    found = checks.anomaly_checks(
        (split, _read(anomalies, split))
        for split in artifact_utils.decode_split_names(anomalies.split_names)
    )
    found += compared(DRIFT, drift, _NO_EARLIER) if drift else [checks.unmeasured(DRIFT, _NOT_HERE)]
    found += compared(SKEW, skew, _NONE_SERVED)
    judged, idle = checks.with_waivers(found, TypeAdapter(list[Waiver]).validate_json(waivers))
    failed = [check for check in judged if not check.passed]
    if failed:
        print(checks.as_table(judged, idle), flush=True)
        raise ComponentError(
            f"the data gate stops the run: {'; '.join(map(checks.describe, failed))}"
        )
    io_utils.write_string_file(f"{verdict.uri}/{CHECKS}", checks.to_json(judged, idle))
    verdict.span = span_of(examples)
    verdict.set_int_custom_property(LET_THROUGH, statistics.id)
    waived = [
        {"check": check.kind, "feature": check.feature, "reason": check.waiver}
        for check in judged
        if check.waiver
    ]
    verdict.set_string_custom_property(WAIVED, json.dumps(waived, ensure_ascii=False))


def compared(kind: str, anomalies: types.Artifact | None, otherwise: str) -> list[Check]:
    """What DistributionValidator has measured.

    Args:
        kind: what the comparison is for.
        anomalies: its output; None if there is none.
        otherwise: why nothing was compared, if nothing was.
    """
    against = anomalies.get_string_custom_property(AGAINST) if anomalies else ""
    if not anomalies or not against:
        return [checks.unmeasured(kind, otherwise)]
    (pair,) = artifact_utils.decode_split_names(anomalies.split_names)
    folder = f"{anomalies.uri}/SplitPair-{pair}"
    content = io_utils.read_bytes_file(f"{folder}/{DEFAULT_FILE_NAME}")
    return checks.comparison_checks(kind, anomalies_pb2.Anomalies.FromString(content), against)


def _read(anomalies: types.Artifact, split: str) -> anomalies_pb2.Anomalies:
    file = f"{artifact_utils.get_split_uri([anomalies], split)}/{DEFAULT_FILE_NAME}"
    return anomalies_pb2.Anomalies.FromString(io_utils.read_bytes_file(file))
