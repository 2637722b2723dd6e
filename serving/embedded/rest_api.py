"""TF Serving's REST API: from a method, a path and a body to a status and JSON.

What is accepted, the order of the checks and the words of the errors are those of TF Serving's
`model_servers/http_rest_api_handler.cc`. No sockets here: those are in `app.py`.
"""

import json
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from data.contract.servable import DEFAULT_SIGNATURE
from serving.embedded import examples, json_values, tensors
from serving.embedded.json_values import Json, quote
from serving.embedded.metrics import Metrics
from serving.embedded.observer import Call, Observer
from serving.embedded.servable import Signature, Tensor
from serving.embedded.status import Code, RequestError, invalid
from serving.embedded.versions import Model, VersionStatus, not_found, unknown_label

PATH = re.compile(r"/v1/.*", re.IGNORECASE | re.DOTALL)
"""What belongs to the API."""

_log = logging.getLogger(__name__)

_TARGET = r"(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:?]+))?"
_ASK = re.compile(
    rf"/v1/models/(?P<model>[^/:?]+){_TARGET}:(?P<method>classify|regress|predict)", re.IGNORECASE
)
_LOOK = re.compile(
    rf"/v1/models(?:/(?P<model>[^/:?]+))?{_TARGET}(?P<metadata>/metadata)?", re.IGNORECASE
)
_INT64_MAX = 2**63 - 1


@dataclass(frozen=True)
class Answer:
    """What goes back to the client."""

    status: int
    body: bytes


@dataclass(frozen=True)
class _Target:
    """Which version of which model a path names."""

    name: str
    version: str | None
    label: str | None


class RestApi:
    """Answers requests about models.

    Args:
        models: by name.
        metrics: where requests are counted.
        observers: are told of every answer.
    """

    def __init__(
        self, models: Mapping[str, Model], metrics: Metrics, observers: Sequence[Observer] = ()
    ) -> None:
        self._models = models
        self._metrics = metrics
        self._observers = observers

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        """Answers a request; whatever is wrong with it is in the answer.

        Args:
            method: in capitals.
            path: as it came, percent signs and the query included.
            body: inflated.
        """
        try:
            return Answer(Code.OK.http, _encode(self._answer(method, path, body)))
        except RequestError as error:
            return refuse(error)
        except RecursionError:
            return refuse(invalid("JSON Parse error: The document is nested too deep"))
        except Exception as error:
            _log.exception("%s %s", method, path)
            return refuse(RequestError(Code.INTERNAL, f"{type(error).__name__}: see the log"))

    def _answer(self, method: str, path: str, body: bytes) -> str:
        if method == "POST" and (match := _ASK.fullmatch(path)):
            return self._ask(_target(match), match["method"].lower(), body)
        if method == "GET" and (match := _LOOK.fullmatch(path)):
            if match["model"] is None:
                raise invalid("Missing model name in request.")
            look = self._metadata if match["metadata"] else self._status
            return json.dumps(look(_target(match)), indent=1)
        raise invalid(f"Malformed request: {method} {path}")

    def _ask(self, target: _Target, method: str, body: bytes) -> str:
        started = time.perf_counter()
        code = Code.OK
        try:
            return self._run(target, method, body)
        except RequestError as error:
            code = error.code
            raise
        finally:
            # A name that the client made up must not become a series of its own.
            name = target.name if target.name in self._models else ""
            self._metrics.count_request(name, method, code, time.perf_counter() - started)

    def _run(self, target: _Target, method: str, body: bytes) -> str:
        document = json_values.parse(body)
        signature_name = document.get("signature_name", "")
        if not isinstance(signature_name, str):
            raise invalid(
                f"JSON Value: {quote(document)} not formatted correctly. 'signature_name' key must "
                "be a string value."
            )
        if method != "predict":
            feed = examples.read_examples(document)
        signature_name = signature_name or DEFAULT_SIGNATURE
        model, version = self._find(target)
        with (
            model.use(version, target.label) as (number, servable, label),
            self._metrics.version(model.name, number, label),
        ):

            def run(feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
                with self._metrics.runtime(model.name, method):
                    outputs = servable.run(signature_name, feeds)
                self._tell(Call(model.name, number, signature_name, feeds, outputs))
                return outputs

            signature = servable.signatures.get(signature_name)
            if method == "predict":
                if signature is None:
                    raise invalid(
                        f'Serving signature name: "{signature_name}" not found in signature def'
                    )
                return _predict(document, signature, run)
            if signature is None:
                raise invalid(f"No signature was found with the name: {signature_name}")
            return _infer(method, feed, signature, run)

    def _tell(self, call: Call) -> None:
        for observer in self._observers:
            try:
                observer.saw(call)
            except Exception:  # the client has no part in it
                _log.exception("an answer of %s went unobserved", call.model)

    def _find(self, target: _Target) -> tuple[Model, int | None]:
        """The model, and the number of the version if the path has one."""
        version = _number(target.version)
        model = self._models.get(target.name)
        if model is not None:
            return model, version
        if target.label is not None:
            raise unknown_label(target.label)
        raise not_found(target.name, version)

    def _status(self, target: _Target) -> Json:
        version = _number(target.version)
        model = self._models.get(target.name)
        statuses = model.statuses() if model else []
        if target.label is not None:
            if model is None:
                raise unknown_label(target.label)
            version = model.version_of(target.label)
        if version is not None:
            statuses = [status for status in statuses if status.version == version]
        if not statuses:
            which = "any versions" if version is None else f"version {version}"
            raise RequestError(Code.NOT_FOUND, f"Could not find {which} of model {target.name}")
        return {"model_version_status": [_describe(status) for status in statuses]}

    def _metadata(self, target: _Target) -> Json:
        model, version = self._find(target)
        with model.use(version, target.label) as (number, servable, _):
            return {
                "model_spec": {
                    "name": target.name,
                    "signature_name": "",
                    "version": str(number),
                },
                "metadata": {"signature_def": {"signature_def": servable.describe()}},
            }


def refuse(error: RequestError) -> Answer:
    """The answer to a request that failed."""
    return Answer(error.code.http, error_body(error.message))


def error_body(message: str) -> bytes:
    """JSON of an error."""
    return _encode(json.dumps({"error": message}, ensure_ascii=False))


def _encode(text: str) -> bytes:
    """Bytes that were not UTF-8 in the request go back as they came."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def _target(match: re.Match[str]) -> _Target:
    # Only after the match: a slash may be escaped in a name.
    def unescaped(part: str | None) -> str | None:
        return None if part is None else unquote_to_bytes(part).decode("utf-8", "replace")

    return _Target(unescaped(match["model"]) or "", match["version"], unescaped(match["label"]))


def _number(version: str | None) -> int | None:
    if version is None:
        return None
    if len(version) > len(str(_INT64_MAX)) or int(version) > _INT64_MAX:
        raise invalid(f"Failed to convert version: {version} to numeric.")
    return int(version)


def _describe(status: VersionStatus) -> Json:
    return {
        "version": str(status.version),
        "state": status.state.value,
        "status": {"error_code": status.code.name, "error_message": status.message},
    }


_Run = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


def _predict(document: Mapping[str, Json], signature: Signature, run: _Run) -> str:
    inputs = signature.types
    if not inputs:
        name = document.get("signature_name") or "DEFAULT"  # as TF Serving says it
        raise invalid(f"Failed to get input map for signature: {name}")
    if "instances" in document and "inputs" in document:
        raise invalid(
            f"JSON Value: {quote(document)} Not formatted correctly expecting only one of "
            "'inputs' or 'instances' keys to exist "
        )
    if "instances" in document:
        instances = document["instances"]
        if not isinstance(instances, list):
            raise invalid(
                f"JSON Value: {quote(document)} Expecting 'instances' to be an list/array"
            )
        if not instances:
            raise invalid(f"JSON Value: {quote(document)} No values in 'instances' array")
        return tensors.write_predictions(run(tensors.read_instances(instances, inputs)))
    if "inputs" in document:
        return tensors.write_outputs(run(tensors.read_inputs(document["inputs"], inputs)))
    raise invalid("Missing 'inputs' or 'instances' key")


def _infer(method: str, feed: Tensor, signature: Signature, run: _Run) -> str:
    if method == "classify":
        examples.check_classify(signature)
        return examples.write_classifications(run({examples.INPUTS: feed}), len(feed))
    examples.check_regress(signature)
    return examples.write_regressions(run({examples.INPUTS: feed}), len(feed))
