"""What the Evaluator has kept of an evaluation."""

from pathlib import Path

from components.errors import ComponentError
from components.evaluation.figures import EVALUATION, VERDICT, Evaluation


def read_evaluation(uri: str) -> Evaluation:
    """Reads an Evaluator's output.

    Args:
        uri: the ModelEvaluation artifact, local.

    Raises:
        ComponentError: it is damaged.
    """
    file = Path(uri) / VERDICT
    try:
        return EVALUATION.validate_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ComponentError(f"{file} is damaged: {error}") from error
