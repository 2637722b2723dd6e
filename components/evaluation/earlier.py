"""Evaluations of earlier runs: what models have said before, and how often the photos were seen.

Earlier evaluations are no input of the node: they would be part of its key, which would then
change with every run. They only save the work of asking again.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

from components.errors import ComponentError
from components.evaluation.figures import VERDICT, Evaluation, read_evaluation
from components.evaluation.table import Answers, read_table
from components.staging import is_remote

_OF_TFMA = "eval_config.json"
"""All that evaluations by earlier versions of this code have in common with those of this one."""


class EarlierEvaluations:
    """Those that lie beside the one to be made; beside a remote one, nothing is looked for.

    Args:
        folder: of the evaluation to be made.
        classes: names in the order of the probabilities.
    """

    def __init__(self, folder: str, classes: Sequence[str]) -> None:
        self._known = not is_remote(folder)
        self._uncounted = 0
        self._found: list[tuple[Evaluation, Answers]] = []
        if not self._known:
            return
        for other in sorted(Path(folder).parent.glob("*"), key=lambda each: each.stat().st_mtime):
            if other == Path(folder) or not (other / _OF_TFMA).is_file():
                continue
            if not (other / VERDICT).is_file():
                self._uncounted += 1
                continue
            try:
                evaluation = read_evaluation(str(other))
                said = read_table(other, classes)
                if len(said) != evaluation.photos:
                    raise ComponentError(
                        f"{other} holds {len(said)} of {evaluation.photos} predictions"
                    )
            except ComponentError as error:
                self._uncounted += 1
                print(f"  evaluation: {error}; nothing is reused from it", flush=True)
            else:
                self._found.append((evaluation, said.answers()))

    def answers(self, model: str) -> Answers:
        """What a model with this fingerprint has said; the newest answer to each photo."""
        answers: Answers = {}
        for evaluation, said in self._found:
            if evaluation.model == model:
                answers |= said
        return answers

    def looks(self, images: Collection[str]) -> int | None:
        """How many evaluations have seen any of these photos, the one to be made included.

        Args:
            images: of the test photos.

        Returns:
            A number, of which evaluations whose files are gone are a part if a later one knew of
            them; None where earlier evaluations cannot be looked for.
        """
        if not self._known:
            return None
        counts = [
            evaluation.test_looks or 0
            for evaluation, said in self._found
            if not said.keys().isdisjoint(images)
        ]
        return 1 + max([len(counts) + self._uncounted, *counts])
