"""What a server has counted, read from its metrics, and what was counted in between."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self

from prometheus_client.parser import text_string_to_metric_families

from data.contract.service import (
    ANSWERS,
    PHOTO_BRIGHTNESS,
    PHOTO_HEIGHT,
    PHOTO_WIDTH,
    SAID_NO_DOG,
    SAID_NOT_SURE,
)

HISTOGRAMS = (PHOTO_BRIGHTNESS, PHOTO_WIDTH, PHOTO_HEIGHT)


@dataclass(frozen=True)
class Counted:
    """What was counted of one model's photos."""

    version: str
    answers: Mapping[str, Mapping[str, int]]
    """Of that version, by what was said, and then by likeliest class."""
    histograms: Mapping[str, Mapping[str, int]]
    """Photos, whichever version was asked, by the upper bounds of the buckets, for each of
    `HISTOGRAMS`."""

    @classmethod
    def of(cls, text: str, model: str, version: str) -> Self:
        """Reads metrics in Prometheus' text format.

        Raises:
            ValueError: it is something else.
        """
        answers: dict[str, dict[str, int]] = {}
        reached: dict[str, dict[float, int]] = {name: {} for name in HISTOGRAMS}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = sample.labels
                if labels.get("model_name") != model:
                    continue
                if sample.name == f"{ANSWERS}_total" and labels["version"] == version:
                    said = answers.setdefault(labels["said"], {})
                    said[labels["label"]] = said.get(labels["label"], 0) + int(sample.value)
                elif family.name in reached and sample.name == f"{family.name}_bucket":
                    reached[family.name][float(labels["le"])] = int(sample.value)
        return cls(version, answers, {name: _by_bucket(each) for name, each in reached.items()})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Reads what `to_json` has written.

        Raises:
            ValueError: it is something else.
        """
        found = json.loads(text)
        if not isinstance(found, dict) or found.keys() != {"version", "answers", "histograms"}:
            raise ValueError("not what a server has counted")
        return cls(**found)

    def to_json(self) -> str:
        """The same as a JSON object."""
        return json.dumps(asdict(self), indent=2)

    @property
    def total(self) -> int:
        """Answers of all kinds."""
        return sum(sum(labels.values()) for labels in self.answers.values())

    @property
    def measured(self) -> int:
        """Photos that are in every histogram; one may be in some of them when they are read."""
        return min(sum(each.values()) for each in self.histograms.values())

    @property
    def labels(self) -> dict[str, int]:
        """Photos by likeliest class, but those without a dog."""
        found: dict[str, int] = {}
        for said, labels in self.answers.items():
            for label, count in labels.items() if said != SAID_NO_DOG else ():
                found[label] = found.get(label, 0) + count
        return found

    @property
    def dogs(self) -> int:
        """Answers but those that saw no dog."""
        return sum(self.labels.values())

    def share(self, said: str) -> float:
        """The share of the answers that said so."""
        return sum(self.answers.get(said, {}).values()) / self.total if self.total else 0.0

    @property
    def not_sure(self) -> float:
        """The share of the answers that were not sure."""
        return self.share(SAID_NOT_SURE)

    @property
    def no_dog(self) -> float:
        """The share of the answers that saw no dog."""
        return self.share(SAID_NO_DOG)

    def since(self, earlier: Self) -> Self:
        """What was counted after something else was.

        All of it if the counts began anew, or those before are of another version.
        """
        if earlier.version != self.version:
            return self
        answers = _less(self.answers, earlier.answers)
        histograms = _less(self.histograms, earlier.histograms)
        if answers is None or histograms is None:
            return self
        return type(self)(self.version, answers, histograms)


def _by_bucket(reached: Mapping[float, int]) -> dict[str, int]:
    """The counts of the buckets that are not empty, from how many reach each bound at most."""
    found, before = {}, 0
    for bound, count in sorted(reached.items()):
        if count > before:
            found[f"{bound:g}"] = count - before
        before = count
    return found


def _less(
    now: Mapping[str, Mapping[str, int]], earlier: Mapping[str, Mapping[str, int]]
) -> dict[str, dict[str, int]] | None:
    """The differences; None if something has become less."""
    found: dict[str, dict[str, int]] = {}
    for group in [*now, *(earlier.keys() - now.keys())]:
        mine, theirs = now.get(group, {}), earlier.get(group, {})
        found[group] = {key: mine.get(key, 0) - theirs.get(key, 0) for key in {**theirs, **mine}}
        if min(found[group].values(), default=0) < 0:
            return None
    return found


def spread(counts: Mapping[str, int], total: int) -> list[str]:
    """So many names, each as often as its count is of all counts.

    Of the cumulative shares it takes those at the middle of each of `total` equal parts.

    Args:
        counts: not all 0.
        total: how many, at least 1.
    """
    found, reached, whole = [], 0, sum(counts.values())
    names = iter(counts.items())
    name, count = next(names)
    for part in range(total):
        while (reached + count) * 2 * total <= (2 * part + 1) * whole:
            reached += count
            name, count = next(names)
        found.append(name)
    return found
