"""What an exported model says beyond its probabilities, settled on the validation photos."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from components.model.calibration import fit_temperature
from components.model.certainty import Certainty, choose_threshold, fewest_photos
from components.model.subject import Subject
from components.reliability import bins_of, calibration_error


@dataclass(frozen=True)
class Answers:
    """How sure the model is, and by what it says so."""

    temperature: float
    """What the logits are divided by."""
    val_calibration_error: tuple[float, float]
    """On the validation photos, before that and after it."""
    certain: Certainty
    subject: Subject | str
    """What tells whether a photo shows the subject at all, or why nothing does."""

    def as_json(self) -> dict[str, Any]:
        """What a reader of the export wants to know, as JSON values."""
        before, after = self.val_calibration_error
        subject = self.subject
        return {
            "temperature": self.temperature,
            "val_calibration_error": {"before": before, "after": after},
            "certain": dataclasses.asdict(self.certain),
            "dog": (
                {"by": None, "why": subject}
                if isinstance(subject, str)
                else {"by": Subject.BY, "val_kept": subject.val_kept}
            ),
        }

    def as_text(self) -> str:
        """The same in words, indented as what a node prints."""
        before, after = self.val_calibration_error
        certain, subject = self.certain, self.subject
        lines = [
            f"temperature {self.temperature:.2f}: calibration error {before:.3f} before, "
            f"{after:.3f} after, on the validation photos"
        ]
        if certain.threshold is None:
            lines.append(
                f"certain: never, as the validation photos do not show that {certain.asked:g} of "
                f"some answers are right, for which it takes {fewest_photos(certain.asked):,} at "
                "the least: ask for less (answers.accuracy)"
            )
        else:
            lines.append(
                f"certain: from {certain.threshold:.3f} on, {certain.val_coverage:.1%} of the "
                f"validation photos, of which {certain.val_accuracy:.1%} are right"
            )
        lines.append(
            f"dog: no score for whether there is one, because {subject}"
            if isinstance(subject, str)
            else f"dog: by {Subject.BY}, there is one in {subject.val_kept:.1%} of the "
            "validation photos"
        )
        return "\n".join(f"  {line}" for line in lines)


def settle_answers(
    logits: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    accuracy: float,
    subject: Subject | str,
) -> Answers:
    """Decides on the validation photos.

    Args:
        logits: [N, classes], N at least 1.
        labels: class ids [N].
        accuracy: the share of certain answers that should be right.
        subject: as `Answers` has it.
    """
    temperature = fit_temperature(logits.astype(np.float64), labels)
    before, after = (softmax(logits / divisor, axis=1) for divisor in (1.0, temperature))
    return Answers(
        temperature=temperature,
        val_calibration_error=(_error(before, labels), _error(after, labels)),
        certain=choose_threshold(after, labels, accuracy),
        subject=subject,
    )


def _error(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    right = probabilities.argmax(axis=1) == labels
    return calibration_error(bins_of(probabilities.max(axis=1), right))
