"""The outcome of a run: read from its artifacts, printed, and kept as metrics.json."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.data_gate import checks
from components.data_gate.checks import Check
from components.data_gate.settings import Waiver
from components.evaluation.figures import EVALUATION, Evaluation, read_evaluation
from components.nodes.curves import PICTURE
from components.nodes.data_gate import CHECKS
from components.report.page import PAGE, NodeCost, RunFacts, complete
from components.training.history import SUMMARY
from data.contract.nodes import CURVES, DATA_GATE, EVALUATOR, PUSHER, REPORT, TRAINER
from data.ingest import IngestResult
from pipeline.gate_table import gate_lines
from pipeline.outputs import Outputs
from pipeline.progress import NodeTimes, describe_alike
from pipeline.tuned import tuned_toml


@dataclass(frozen=True)
class Summary:
    """The figures of one run."""

    classes: tuple[str, ...]
    data_checks: list[Check]
    idle_waivers: list[Waiver]
    evaluation: Evaluation
    training: dict[str, Any]
    nodes: list[dict[str, Any]]
    """`node`, `seconds`, `cpu_seconds`, `peak_mb` and `cached` of each, in the order they ran."""
    model: Path | None
    """The version that holds the model; None when the gate blocked it."""
    tuned: str | None = None
    """What a search has found, as TOML; None where there was none."""


def summarize(outputs: Outputs, times: NodeTimes, classes: Sequence[str]) -> Summary:
    """Collects the figures of a completed run."""
    pushed = outputs.artifacts[PUSHER, "pushed_model"].custom_properties
    verdict = (outputs.uri(DATA_GATE, "verdict") / CHECKS).read_text(encoding="utf-8")
    data_checks, idle_waivers = checks.from_json(verdict)
    return Summary(
        classes=tuple(classes),
        data_checks=data_checks,
        idle_waivers=idle_waivers,
        evaluation=read_evaluation(str(outputs.uri(EVALUATOR, "evaluation"))),
        training=json.loads((outputs.uri(TRAINER, "model_run") / SUMMARY).read_text()),
        nodes=[
            {
                "node": node,
                "seconds": round(seconds, 1),
                "cpu_seconds": round(times.cpu[node], 1),
                "peak_mb": times.memory[node],
                "cached": outputs.cached.get(node, False),
            }
            for node, seconds in times.wall.items()
        ],
        model=(
            Path(pushed["pushed_destination"].string_value) if pushed["pushed"].int_value else None
        ),
        tuned=tuned_toml(outputs),
    )


def copy_curves(outputs: Outputs, file: Path) -> None:
    """Copies the curves of the run's model to where a user looks for them."""
    shutil.copyfile(outputs.uri(CURVES, "curves") / PICTURE, file)


def report_page(
    outputs: Outputs,
    summary: Summary,
    ingested: IngestResult,
    by_span: Mapping[str, Mapping[int, float]],
) -> str:
    """The report on a run, with what its nodes do not know.

    Args:
        outputs: of the run.
        summary: its figures.
        ingested: what the records were made of.
        by_span: the accuracy of each version on each span.
    """
    left_out = [
        (ingested.rejected, "unusable files"),
        (ingested.conflicts, "whose label or split cannot be right"),
        (ingested.earlier, "that earlier spans hold"),
        (ingested.older, "from before the window"),
    ]
    run = RunFacts(
        pushed=str(summary.model or ""),
        left_out=[(number, why) for number, why in left_out if number],
        alike=describe_alike(ingested),
        nodes=[NodeCost(**node) for node in summary.nodes],
        by_span=by_span,
    )
    page = (outputs.uri(REPORT, "report") / PAGE).read_text(encoding="utf-8")
    return complete(page, run)


def as_metrics(summary: Summary) -> dict[str, Any]:
    """The figures as JSON values."""
    return {
        "classes": list(summary.classes),
        "data": json.loads(checks.to_json(summary.data_checks, summary.idle_waivers)),
        "training": summary.training,
        "test": EVALUATION.dump_python(summary.evaluation, mode="json"),
        "nodes": summary.nodes,
        "model": str(summary.model) if summary.model else None,
    }


def as_text(summary: Summary) -> str:
    """The figures as the terminal shows them."""
    evaluation = summary.evaluation
    low, high = evaluation.interval
    phases = summary.training["phases"]
    width = max(10, *(len(phase["name"]) + 2 for phase in phases))
    return "\n".join(
        [
            "",
            f"{'phase':<{width}}{'train acc':>11}{'loss':>8}{'val acc':>11}{'loss':>8}"
            "   best epoch",
            *(_phase_line(phase, width) for phase in phases),
            f"the model is that of phase {summary.training['exported_phase']}"
            f"{', trained anew with the validation photos' if summary.training['refit'] else ''}; "
            "train figures are with augmentation",
            "",
            f"test accuracy {evaluation.accuracy:.3f} (95 % interval {low:.3f} to {high:.3f}) "
            f"on {evaluation.photos} photos; always the majority class: {evaluation.majority:.3f}",
            "",
            *_confusion_lines(evaluation, summary.classes),
            "",
            f"{'node':<22}{'seconds':>8}{'CPU s':>8}{'peak MB':>9}",
            *(
                f"{node['node']:<22}{node['seconds']:>8.1f}{node['cpu_seconds']:>8.1f}{_megabytes(node['peak_mb']):>9}"
                f"{'   cached' if node['cached'] else ''}"
                for node in summary.nodes
            ),
            "",
            checks.as_table(summary.data_checks, summary.idle_waivers),
            "",
            *gate_lines(evaluation),
            "",
        ]
    )


def _megabytes(number: float | None) -> str:
    return "-" if number is None else f"{number:,.0f}"


def _phase_line(phase: dict[str, Any], width: int) -> str:
    figures = "".join(
        f"{phase[split]['accuracy']:>11.3f}{phase[split]['loss']:>8.3f}"
        for split in ("train", "val")
    )
    return f"{phase['name']:<{width}}{figures}   {phase['best_epoch']} of {phase['epochs']}"


def _confusion_lines(evaluation: Evaluation, classes: Sequence[str]) -> list[str]:
    width = max(8, *(len(name) + 2 for name in classes))
    return [
        f"{'actual / predicted':<20}"
        + "".join(f"{name:>{width}}" for name in classes)
        + "  recall",
        *(
            f"{name:<20}"
            + "".join(f"{count:>{width}}" for count in row)
            + f"{evaluation.recall[name]:>8.3f}"
            for name, row in zip(classes, evaluation.confusion, strict=True)
        ),
    ]
