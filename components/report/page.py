"""The report as one HTML page that needs nothing else: bounded, however many photos there are."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from components.evaluation.figures import Evaluation
from components.evaluation.table import Predictions
from components.pages.plots import Axis, Dot, Line, Rule, Style, number_axis, plot, share_axis
from components.pages.rendering import SHARED, render
from components.reliability import Bin, bins_of, calibration_error
from components.report.calibration import (
    FEWEST,
    Share,
    certain_share,
    coverage_curve,
    uncalibrated,
)
from components.report.classes import class_rows, confusions
from components.report.description import leaves
from components.report.neighbours import SEARCHED
from components.report.shown import Shown, no_dog
from components.training.history import PhaseHistory
from data.contract.features import SPLITS

PAGE = "index.html"

TEMPLATE, RUN = (Path(__file__).with_name(name) for name in ("page.html", "run.html"))

MATRIX_CLASSES = 16
"""With more, the commonest confusions are listed instead of a matrix."""
ROWS = 60
"""Of the tables of classes, slices and confusions."""
SETTINGS = 300
VERSIONS, SPANS = 12, 12
"""The newest, of the table of versions by spans."""

JUDGE_AGREED = "61 of 100"
"""Labels of the shared public photos with which a second judge agreed."""


@dataclass(frozen=True)
class Facts:
    """All that the nodes of a pipeline know about a run."""

    classes: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]
    """Photos of each class in each split."""
    evaluation: Evaluation
    predictions: Predictions
    history: Sequence[PhaseHistory]
    training: Mapping[str, Any]
    """The Trainer's summary."""
    settings: Mapping[str, Any]
    """The configuration, nested."""
    versions: Mapping[str, str]
    mistakes: Sequence[Shown]
    right: Sequence[Shown]
    no_neighbours: str
    """Why no training photos are shown beside the mistakes; empty if they are."""


@dataclass(frozen=True)
class NodeCost:
    """What one node took."""

    node: str
    seconds: float
    cpu_seconds: float
    peak_mb: float | None
    """None where it cannot be measured."""
    cached: bool


@dataclass(frozen=True)
class RunFacts:
    """What only whoever ran the nodes knows."""

    pushed: str
    """Where the model was pushed to; empty if it was not."""
    left_out: Sequence[tuple[int, str]]
    """Numbers of photos that are not used, and why."""
    alike: str
    """What is known of near-duplicates."""
    nodes: Sequence[NodeCost]
    by_span: Mapping[str, Mapping[int, float]]
    """Test accuracy of each version, the oldest first, on each span that it was asked about; this
    run's model is the last."""


def make_page(facts: Facts) -> str:
    """The page, of which no part grows with the number of photos.

    `complete` adds what only whoever ran the nodes knows.
    """
    evaluation, predictions = facts.evaluation, facts.predictions
    answers = facts.training.get("answers")
    settings = list(leaves(facts.settings))
    return render(
        TEMPLATE,
        facts=facts,
        evaluation=evaluation,
        failed=[each.name for each in evaluation.conditions if not each.passed],
        splits=SPLITS,
        classes=facts.classes,
        totals={
            name: sum(facts.counts[split].get(name, 0) for split in SPLITS)
            for name in facts.classes
        },
        rows=ROWS,
        curves=_curves(facts.history),
        matrix=len(facts.classes) <= MATRIX_CLASSES,
        confusions=confusions(evaluation, facts.classes),
        class_rows=list(class_rows(evaluation, facts.classes)),
        answers=answers,
        reliability=_reliability(evaluation, predictions, answers),
        coverage=_coverage(predictions, answers),
        searched=SEARCHED,
        no_dog=None if predictions.dog is None else int(no_dog(predictions).sum()),
        fewest=FEWEST,
        settings=settings[:SETTINGS],
        more_settings=max(0, len(settings) - SETTINGS),
        judge_agreed=JUDGE_AGREED,
        value=_value,
    )


def complete(page: str, run: RunFacts) -> str:
    """A page with what only whoever ran the nodes knows.

    Args:
        page: from `make_page`.
        run: what to add.

    Raises:
        ValueError: it is not such a page.
    """
    spans = sorted({span for measured in run.by_span.values() for span in measured})[-SPANS:]
    seen = {name: each for name, each in run.by_span.items() if not each.keys().isdisjoint(spans)}
    by_span = dict(list(seen.items())[-VERSIONS:])
    chart = _by_span(by_span, spans) if len(spans) > 1 else ""
    for part in ("outcome", "spans", "ingestion", "nodes"):
        added = render(RUN, part=part, run=run, by_span=by_span, spans=spans, chart=chart)
        # A function: in the text of a replacement, a backslash would have a meaning.
        page, found = re.subn(
            f"<!--{part}-->.*?<!--/{part}-->",
            lambda _, added=added: added,  # type: ignore[misc]
            page,
            flags=re.DOTALL,
        )
        if found != 1:
            raise ValueError(f"the page has {found} places for its {part}")
    return page


def _by_span(by_span: Mapping[str, Mapping[int, float]], spans: Sequence[int]) -> Markup:
    """A line for each version; the model of the run has a colour."""
    *_, newest = by_span
    lines = []
    for version, measured in by_span.items():
        points = [(span, measured[span]) for span in spans if span in measured]
        dots = [Dot(span, share, f"{version}, span {span}: {share:.3f}") for span, share in points]
        lines.append(Line("first" if version == newest else "guide", points, dots))
    across = Axis("span", spans[0], spans[-1], spans)
    return plot(lines, x=across, y=share_axis("Accuracy"), title="Accuracy of each version by span")


def look() -> str:
    """SHA-256 of the templates and the theme, of which a hash of code knows nothing."""
    files = (TEMPLATE, TEMPLATE.with_suffix(".css"), SHARED / "base.html", SHARED / "theme.css")
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _curves(history: Sequence[PhaseHistory]) -> list[tuple[str, Markup]]:
    epochs = [epoch for phase in history for epoch in phase.history]
    numbers = range(1, len(epochs) + 1)
    rules, kept, end, member = [], [], 0, ""
    for phase in history:
        whose, _, name = phase.name.rpartition(" ")
        # Of an ensemble there is room for the names of the members alone.
        words = name if not whose else whose if whose != member else ""
        rules.append(Rule(words, x=end + 0.5))
        member = whose
        kept.append(end + 1 + phase.kept)
        end += len(phase.history)
    across = number_axis("epoch", numbers, whole=True)
    drawn = []
    for metric, title in (("accuracy", "Accuracy"), ("loss", "Loss (cross-entropy)")):
        values = [epoch[key] for epoch in epochs for key in (metric, f"val_{metric}")]
        up = share_axis(title) if metric == "accuracy" else number_axis(title, values)
        lines = [
            _epoch_line("second", [epoch[metric] for epoch in epochs], "training", ()),
            _epoch_line("first", [epoch[f"val_{metric}"] for epoch in epochs], "validation", kept),
        ]
        drawn.append((title, plot(lines, x=across, y=up, title=f"{title} by epoch", rules=rules)))
    return drawn


def _epoch_line(style: Style, values: Sequence[float], what: str, kept: Sequence[int]) -> Line:
    """Values by epoch, from 1; those that are kept have a large dot."""
    points = list(enumerate(values, start=1))
    return Line(
        style,
        points,
        [
            Dot(n, value, f"epoch {n}, {what}: {value:.3f}", 4.5 if n in kept else 2)
            for n, value in points
        ],
    )


@dataclass(frozen=True)
class _Reliability:
    chart: Markup
    before: float | None
    """Expected calibration error without the temperature; None if there is none."""


def _reliability(
    evaluation: Evaluation, predictions: Predictions, answers: Mapping[str, Any] | None
) -> _Reliability:
    lines = [Line("guide", [(0, 0), (1, 1)])]
    before = None
    if answers is not None:
        raw = uncalibrated(predictions.probabilities, answers["temperature"])
        bins = bins_of(raw.max(axis=1), predictions.right)
        before = calibration_error(bins)
        lines.append(_bin_line("second", bins, evaluation.photos))
    lines.append(_bin_line("first", evaluation.bins, evaluation.photos))
    chart = plot(
        lines,
        x=share_axis("how sure the model is"),
        y=share_axis("how often it is right"),
        title="Accuracy by how sure the model is",
    )
    return _Reliability(chart, before)


def _bin_line(style: Style, bins: Sequence[Bin], photos: int) -> Line:
    return Line(
        style,
        [(each.confidence, each.accuracy) for each in bins],
        [
            Dot(
                each.confidence,
                each.accuracy,
                f"{each.photos:,} photos, {each.confidence:.1%} sure, {each.accuracy:.1%} right",
                1.5 + 9 * (each.photos / photos) ** 0.5,
            )
            for each in bins
        ],
    )


@dataclass(frozen=True)
class _Coverage:
    chart: Markup
    certain: Share | None
    """None if the model does not say which answers are certain."""


def _coverage(predictions: Predictions, answers: Mapping[str, Any] | None) -> _Coverage:
    points = coverage_curve(predictions)
    certain = certain_share(predictions)
    dots, rules = [], []
    if answers is not None:
        rules.append(Rule("asked for", y=answers["certain"]["asked"]))
    if certain is not None and certain.accuracy is not None:
        words = f"certain: {certain.coverage:.1%} of the photos, {certain.accuracy:.1%} right"
        dots.append(Dot(certain.coverage, certain.accuracy, words, 5))
        rules.append(Rule("certain", x=certain.coverage))
    chart = plot(
        [Line("first", points, dots)],
        x=share_axis("share of photos answered, surest first"),
        y=share_axis("how often the answer is right"),
        title="Accuracy by the share of photos that are answered",
        rules=rules,
    )
    return _Coverage(chart, certain)


def _value(condition: Any, value: float | None) -> str:
    """A figure of a condition as the table shows it."""
    if value is None:
        return "\N{EN DASH}"
    return f"{value:.0f} {condition.unit}" if condition.unit else f"{value:.3f}"
