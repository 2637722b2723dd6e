"""The gate's verdict as the terminal shows it."""

import textwrap

from components.evaluation.figures import Condition, Evaluation


def gate_lines(evaluation: Evaluation) -> list[str]:
    """A table of the conditions, and how often the test photos were looked at."""
    return [
        f"{'gate':<34}{'limit':>18}{'measured':>12}",
        *(line for condition in evaluation.conditions for line in _condition_lines(condition)),
        _looks_line(evaluation.test_looks),
    ]


def _condition_lines(condition: Condition) -> list[str]:
    """A row of the table and, below it, what the verdict is worth."""
    sign = "at least" if condition.at_least else "at most"
    limit = "-" if condition.limit is None else f"{sign} {_value(condition, condition.limit)}"
    measured = "-" if condition.measured is None else _value(condition, condition.measured)
    verdict = "passed" if condition.passed else "FAILED"
    row = f"{condition.name:<34}{limit:>18}{measured:>12}   {verdict}"
    return [
        row,
        *textwrap.wrap(condition.remark, 92, initial_indent="    ", subsequent_indent="    "),
    ]


def _value(condition: Condition, value: float) -> str:
    return f"{value:.0f} {condition.unit}" if condition.unit else f"{value:.3f}"


def _looks_line(looks: int | None) -> str:
    if looks is None:
        return "how often the test photos were looked at before is not known here"
    return f"the test photos have been looked at {looks} {'time' if looks == 1 else 'times'}"
