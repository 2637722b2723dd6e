"""What was found in the data, what may pass, and how it is shown."""

import dataclasses
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2

from components.data_gate.settings import ANOMALY, LIMIT_OF, Limits, Waiver
from data.contract import features

NOISE = {features.LABEL: 1.75}
OTHER_NOISE = 1.0
"""What chance does to two samples of m and n photos, over the square root of 1/m + 1/n: for the
class shares, and for divergences of deciles. It was never reached by random halves of real photos:
docs/decisions/data-gate.md has the figures."""

NOWHERE = "all features"
"""The feature of a check that found nothing anywhere."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at in the data."""

    kind: str
    """`anomaly`, `drift` or `skew`."""
    feature: str
    measured: float | None
    """How much was found; None if it could not be measured, and the remark says why."""
    limit: float | None
    remark: str = ""
    waiver: str = ""
    """Why it may pass all the same; empty if nobody said so."""

    @property
    def within(self) -> bool:
        """Whether no more was found than may be."""
        return self.measured is None or self.limit is None or self.measured <= self.limit

    @property
    def passed(self) -> bool:
        """Whether the run may go on as far as this is concerned."""
        return self.within or bool(self.waiver)


def limits_for(limits: Limits, compared: Iterable[str], m: int, n: int) -> dict[str, float]:
    """The largest difference that passes, by feature.

    Args:
        limits: how far the photos themselves may differ.
        compared: the features.
        m: photos on the one side, at least 1.
        n: photos on the other side, at least 1.

    Returns:
        Each limit plus what chance does to samples of that size, at most 1.
    """
    chance = math.sqrt(1 / m + 1 / n)
    return {
        feature: min(
            1.0, getattr(limits, LIMIT_OF[feature]) + NOISE.get(feature, OTHER_NOISE) * chance
        )
        for feature in compared
    }


def anomaly_checks(anomalies: Iterable[tuple[str, anomalies_pb2.Anomalies]]) -> list[Check]:
    """How many anomalies each feature has, in TFDV's words, which hold the value.

    Args:
        anomalies: what ExampleValidator found, by split.
    """
    found: dict[str, list[str]] = {}
    for split, each in anomalies:
        for feature, info in sorted(each.anomaly_info.items()):
            reasons = [reason.description or reason.short_description for reason in info.reason]
            found.setdefault(feature or "dataset", []).extend(_lines(split, reasons))
        reasons = [reason.description for reason in each.dataset_anomaly_info.reason]
        if reasons:
            found.setdefault("dataset", []).extend(_lines(split, reasons))
    return [
        Check(ANOMALY, feature, len(lines), 0, "; ".join(lines)) for feature, lines in found.items()
    ] or [Check(ANOMALY, NOWHERE, 0, 0)]


def _lines(split: str, reasons: Iterable[str]) -> list[str]:
    return [f"{split}: {reason.rstrip('. ')}" for reason in reasons]


def comparison_checks(kind: str, anomalies: anomalies_pb2.Anomalies, against: str) -> list[Check]:
    """How far each feature differs, as DistributionValidator has measured it.

    Args:
        kind: what the comparison is for.
        anomalies: DistributionValidator's, which hold every measurement and its limit.
        against: what was compared with.
    """
    most_different = {
        info.path.step[0]: _most_different(info) for info in anomalies.anomaly_info.values()
    }
    checks = []
    for info in anomalies.drift_skew_info:
        (measurement,) = info.drift_measurements or info.skew_measurements
        (feature,) = info.path.step
        remark = against + most_different.get(feature, "")
        checks.append(Check(kind, feature, measurement.value, measurement.threshold, remark))
    measured = {check.feature for check in checks}
    checks += [
        Check(kind, feature, None, None, f"not in the statistics of both; {against}")
        for feature in most_different
        if feature not in measured
    ]
    return sorted(checks, key=lambda check: list(LIMIT_OF).index(check.feature))


def _most_different(info: anomalies_pb2.AnomalyInfo) -> str:
    for reason in info.reason:
        _, found, value = reason.description.partition("value with maximum difference is: ")
        if found:
            return f", most of all {value}"
    return ""


def unmeasured(kind: str, why: str) -> Check:
    """That a kind of check was not made at all."""
    return Check(kind, NOWHERE, None, None, why)


def with_waivers(
    checks: Iterable[Check], waivers: Sequence[Waiver]
) -> tuple[list[Check], list[Waiver]]:
    """The checks, those beyond their limits with the reason to let them pass; the idle waivers."""
    judged, used = [], []
    for check in checks:
        for waiver in waivers:
            if not check.within and (waiver.check, waiver.feature) == (check.kind, check.feature):
                check = dataclasses.replace(check, waiver=waiver.reason)
                used.append(waiver)
        judged.append(check)
    return judged, [waiver for waiver in waivers if waiver not in used]


def describe(check: Check) -> str:
    """A check that did not pass, and what can be done about it, in one line."""
    line = f"{check.kind} of {check.feature}: {check.measured:.3g}, limit {check.limit:.3g}"
    line += f" ({check.remark}): mend the data"
    if check.feature == "dataset":
        return line
    if check.kind != ANOMALY:
        line += f", raise data_gate.limits.{LIMIT_OF[check.feature]}"
    waiver = f'{{check="{check.kind}", feature="{check.feature}", reason="..."}}'
    return f"{line}, or waive it: data_gate.waivers=[{waiver}]"


def as_table(checks: Iterable[Check], idle: Iterable[Waiver]) -> str:
    """The checks as the terminal shows them."""
    return "\n".join(
        [
            f"{'data gate':<30}{'limit':>9}{'measured':>10}",
            *map(_row, checks),
            *(
                f"waiver not needed: {waiver.check} of {waiver.feature} ({waiver.reason})"
                for waiver in idle
            ),
        ]
    )


def _row(check: Check) -> str:
    line = f"{check.kind:<9}{check.feature:<21}{_figure(check.limit):>9}"
    line += f"{_figure(check.measured):>10}"
    if check.measured is None:
        return f"{line}   ({check.remark})"
    if check.waiver:
        return f"{line}   waived   ({check.waiver})"
    verdict = "passed" if check.within else "FAILED"
    return f"{line}   {verdict}   ({check.remark})" if check.remark else f"{line}   {verdict}"


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def to_json(checks: Iterable[Check], idle: Iterable[Waiver]) -> str:
    """The gate's judgement as it is kept."""
    kept: dict[str, Any] = {
        "checks": [{**dataclasses.asdict(check), "passed": check.passed} for check in checks],
        "waivers not needed": [waiver.model_dump() for waiver in idle],
    }
    return json.dumps(kept, indent=2, ensure_ascii=False)


def from_json(text: str) -> tuple[list[Check], list[Waiver]]:
    """What `to_json` has written."""
    kept = json.loads(text)
    checks = [
        Check(**{key: value for key, value in row.items() if key != "passed"})
        for row in kept["checks"]
    ]
    return checks, [Waiver(**row) for row in kept["waivers not needed"]]
