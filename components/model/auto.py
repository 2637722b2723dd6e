"""What `auto` means on this machine, for a backbone and its weights."""

from dataclasses import dataclass

from components.errors import ComponentError
from components.model.backbone import find, preferred
from components.model.settings import ModelSettings
from components.model.weights import AUTO, IMAGENET, RANDOM, imagenet_of, require_weights_file


@dataclass(frozen=True)
class ResolvedBackbone:
    """A backbone and its weights, neither of them `auto`, and the reason in words."""

    backbone: str
    weights: str
    reason: str


def resolve_auto(backbone: str, weights: str) -> ResolvedBackbone:
    """Finds, within seconds, which backbone and weights `auto` stands for.

    Args:
        backbone: `auto` or one of `backbone.names()`.
        weights: `auto`, `imagenet`, `random`, or a weights file, local or remote (`gs://…`).

    Raises:
        ComponentError: the two do not go together, or the weights are not available.
    """
    if weights not in (AUTO, IMAGENET, RANDOM):
        require_weights_file(weights)
    if backbone == AUTO and weights in (AUTO, IMAGENET):
        return _first_available()
    if backbone == AUTO:
        return ResolvedBackbone(preferred()[0], weights, "as configured")
    published = find(backbone).imagenet
    if weights == AUTO:
        weights = IMAGENET if published else RANDOM
    if weights == IMAGENET:
        imagenet_of(backbone)  # raises where there are none
    return ResolvedBackbone(backbone, weights, "as configured")


def resolve_settings(settings: ModelSettings) -> tuple[ModelSettings, str]:
    """The settings without `auto`, and the reason in words.

    Raises:
        ComponentError: backbone and weights do not go together, or the weights are not available.
    """
    if len(settings.backbones) > 1 and settings.weights not in (AUTO, IMAGENET, RANDOM):
        raise ComponentError(
            f"weights {settings.weights!r} fit one backbone, not {', '.join(settings.backbones)}: "
            f"give {AUTO}, {IMAGENET} or {RANDOM}"
        )
    found = [resolve_auto(name, settings.weights) for name in settings.backbones]
    first, *others = found
    for other in others:
        if other.weights != first.weights:
            raise ComponentError(
                f"weights {settings.weights!r} are {first.weights} for {first.backbone} and "
                f"{other.weights} for {other.backbone}: set model.weights={RANDOM}, or name others"
            )
    backbone = tuple(each.backbone for each in found) if others else first.backbone
    chosen = {"backbone": backbone, "weights": first.weights}
    return settings.model_copy(update=chosen), first.reason


def _first_available() -> ResolvedBackbone:
    """The best backbone whose ImageNet weights are available here."""
    problems: list[str] = []
    for name in preferred():
        try:
            where = imagenet_of(name).where()
        except ComponentError as error:
            problems.append(str(error))
            continue
        reason = f"{'; '.join(problems)}: those of {name} come {where}" if problems else where
        return ResolvedBackbone(name, IMAGENET, reason)
    raise ComponentError("; ".join(problems))
