import json
import math

import pytest
from pydantic import ValidationError
from tensorflow_metadata.proto.v0 import anomalies_pb2

from components.data_gate import checks
from components.data_gate.checks import Check
from components.data_gate.settings import DataGateSettings, Limits, Waiver
from data.contract.features import BRIGHTNESS, IMAGE, LABEL, WIDTH

FAR = Check("drift", LABEL, 0.3, 0.1, "against 80 photos of span 1")
BROKEN = Check("anomaly", IMAGE, 2, 0, "val: gone; test: gone")


def test_each_reason_of_each_anomaly_is_counted_and_told() -> None:
    anomalies = anomalies_pb2.Anomalies()
    for name, reasons in {"b": ["gone", "short"], "a": ["odd"]}.items():
        for reason in reasons:
            anomalies.anomaly_info[name].reason.add(description=f"is {reason}. ")
    anomalies.anomaly_info[""].reason.add(short_description="few examples")
    anomalies.dataset_anomaly_info.reason.add(description="is empty")
    found = checks.anomaly_checks([("val", anomalies), ("test", anomalies_pb2.Anomalies())])
    assert {each.feature: (each.measured, each.limit, each.remark) for each in found} == {
        "dataset": (2, 0, "val: few examples; val: is empty"),
        "a": (1, 0, "val: is odd"),
        "b": (2, 0, "val: is gone; val: is short"),
    }
    assert not any(each.passed for each in found)


def test_no_anomaly_is_a_check_that_passed() -> None:
    (check,) = checks.anomaly_checks([("train", anomalies_pb2.Anomalies())])
    assert (check.measured, check.limit, check.passed) == (0, 0, True)


def test_limits_allow_for_chance_less_the_more_photos_there_are() -> None:
    def label(m: int, n: int) -> float:
        return checks.limits_for(Limits(), [LABEL], m, n)[LABEL]

    assert label(60, 60) > label(60, 2000) > label(200, 2000) > label(2000, 2000) > 0.05
    assert label(10**8, 10**8) == pytest.approx(0.05, abs=1e-3)
    # Four even classes: 99.9 % of random halves differ by less.
    assert label(60, 60) - 0.05 > 3.3 * math.sqrt(0.25 * 0.75 * 2 / 60)
    assert checks.limits_for(Limits(width=1), [WIDTH], 20, 20) == {WIDTH: 1}


def test_a_waiver_holds_for_its_check_and_feature_alone() -> None:
    waiver = Waiver(check="drift", feature=LABEL, reason="more happy dogs were wanted")
    bright = Check("drift", BRIGHTNESS, 0.3, 0.1)
    skew = Check("skew", LABEL, 0.3, 0.1)
    judged, idle = checks.with_waivers([FAR, bright, skew, BROKEN], [waiver])
    assert [each.passed for each in judged] == [True, False, False, False]
    assert judged[0].waiver == waiver.reason
    assert not idle


def test_a_waiver_of_what_is_within_its_limit_is_idle() -> None:
    waiver = Waiver(check="drift", feature=LABEL, reason="in case")
    near = Check("drift", LABEL, 0.1, 0.1)
    assert checks.with_waivers([near], [waiver]) == ([near], [waiver])
    assert "waiver not needed: drift of image/class/text (in case)" in checks.as_table(
        [near], [waiver]
    )


def test_a_finding_names_feature_value_limit_and_fixes_that_can_be_pasted() -> None:
    line = checks.describe(FAR)
    assert line.startswith("drift of image/class/text: 0.3, limit 0.1 (against 80 photos of span 1")
    assert "raise data_gate.limits.label" in line
    waiver = line.partition("data_gate.waivers=")[2]
    assert waiver == '[{check="drift", feature="image/class/text", reason="..."}]'
    assert "limits" not in checks.describe(BROKEN)


def test_what_is_kept_is_read_again() -> None:
    waiver = Waiver(check="skew", feature=WIDTH, reason="ä")
    kept = checks.to_json([FAR, BROKEN, checks.unmeasured("skew", "no photos")], [waiver])
    assert [row["passed"] for row in json.loads(kept)["checks"]] == [False, False, True]
    assert checks.from_json(kept) == (
        [FAR, BROKEN, checks.unmeasured("skew", "no photos")],
        [waiver],
    )


@pytest.mark.parametrize(
    ("waiver", "said"),
    [
        ({"check": "drift", "feature": LABEL}, "reason"),
        ({"check": "drift", "feature": LABEL, "reason": "  "}, "reason"),
        ({"check": "drift", "feature": "image/colour", "reason": "x"}, "must be one of image/cl"),
        ({"check": "skew", "feature": IMAGE, "reason": "x"}, "for skew, feature must be one of"),
        ({"feature": LABEL, "reason": "x"}, "check"),
    ],
)
def test_a_waiver_without_a_reason_or_of_an_unknown_feature_is_refused(
    waiver: dict[str, str], said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        DataGateSettings.model_validate_json(json.dumps({"waivers": [waiver]}))
