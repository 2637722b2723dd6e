"""What clients of a model rely on: its signatures, and the classes that it names."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from data.contract.model import CLASS_LABELS, EXPLAIN_SIGNATURE
from data.contract.servable import DEFAULT_SIGNATURE, WARM_UP
from serving.checking.cost import first_request
from serving.embedded.saved_model import SavedModel
from serving.embedded.servable import Signature
from serving.embedded.status import invalid

_TIMEOUT_MS = 60_000
_ASKED = (DEFAULT_SIGNATURE, EXPLAIN_SIGNATURE)
"""The signatures that clients ask for; the others are for the pipeline."""


@dataclass(frozen=True)
class Interface:
    """What a version can be asked, and among which classes it chooses."""

    signatures: Mapping[str, Signature]
    classes: tuple[str, ...]
    """In its order; none if it does not say."""


def read_interface(version: Path) -> Interface:
    """Loads a version and asks it its first warm-up request.

    Raises:
        RequestError: it cannot be loaded, or does not answer.
    """
    with closing(SavedModel(version, _TIMEOUT_MS)) as model:
        if not (version / WARM_UP).is_file():
            raise invalid(f"{version} has no warm-up request")
        name, feeds = first_request(version)
        named = model.run(name, feeds).get(CLASS_LABELS)
        classes = () if named is None else tuple(each.decode() for each in named[0])
        asked = {each: model.signatures[each] for each in _ASKED if each in model.signatures}
        return Interface(asked, classes)


def find_breaks(old: Interface, new: Interface) -> list[str]:
    """What a client that knows the old version would miss in the new one.

    Further signatures and outputs break nothing.
    """
    found = []
    if old.classes != new.classes:
        found.append(f"classes {', '.join(new.classes)} and not {', '.join(old.classes)}")
    for name, before in old.signatures.items():
        after = new.signatures.get(name)
        if after is None:
            found.append(f"no signature {name}")
            continue
        if after.types != before.types:
            found.append(f"{name} takes {_listed(after.types)} and not {_listed(before.types)}")
        given = {each: info.dtype for each, info in after.outputs.items()}
        missing = {
            each: info.dtype
            for each, info in before.outputs.items()
            if given.get(each) != info.dtype
        }
        if missing:
            found.append(f"{name} does not give {_listed(missing)}")
    return found


def _listed(types: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {dtype}" for name, dtype in types.items()) or "nothing"
