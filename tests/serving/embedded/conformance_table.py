"""What TF Serving answers to which request: the contract as a table.

Read from tensorflow/serving's `http_rest_api_handler.cc`, `json_tensor.cc`, `classifier.cc` and
`regressor.cc` of its releases 2.16 to 2.20. The requests are for the model of `models.py`.
"""

import base64
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

MODEL = "/v1/models/conformance"
PREDICT = f"{MODEL}:predict"


@dataclass(frozen=True)
class Case:
    """A request and its answer."""

    name: str
    method: str
    path: str
    body: bytes
    status: int
    answer: Any
    """The JSON of the answer; of an error a part of its message."""
    headers: dict[str, str] = field(default_factory=dict)


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _b64(data: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(data).decode()}


def _routing() -> Iterator[Case]:
    ask = _json({"instances": [1.0]})
    y = {"predictions": [2.25]}
    yield Case("predict asks the newest version", "POST", PREDICT, ask, 200, y)
    for version, answer in ((1, 2.5), (2, 2.25)):
        path = f"{MODEL}/versions/{version}:predict"
        yield Case(f"version {version}", "POST", path, ask, 200, {"predictions": [answer]})
    label = f"{MODEL}/labels/stable:predict"
    yield Case("a label", "POST", label, ask, 200, {"predictions": [2.5]})
    yield Case(
        "an escaped label",
        "POST",
        f"{MODEL}/labels/st%61ble:predict",
        ask,
        200,
        {"predictions": [2.5]},
    )
    yield Case("an escaped name", "POST", "/v1/models/con%66ormance:predict", ask, 200, y)
    yield Case("capitals in the path", "POST", "/V1/Models/conformance:PREDICT", ask, 200, y)
    yield Case("any content type", "POST", PREDICT, ask, 200, y, {"Content-Type": "text/html"})
    yield Case("gzip", "POST", PREDICT, gzip.compress(ask), 200, y, {"Content-Encoding": "gzip"})
    for method, path in (
        ("GET", PREDICT),
        ("PUT", PREDICT),
        ("DELETE", MODEL),
        ("PATCH", PREDICT),
        ("POST", MODEL),
        ("POST", f"{MODEL}:train"),
        ("POST", f"{MODEL}/:predict"),
        ("POST", f"{PREDICT}/"),
        ("POST", f"{MODEL}/versions/one:predict"),
        ("POST", f"{MODEL}/versions/-1:predict"),
        ("POST", f"{MODEL}/versions/1/labels/stable:predict"),
        ("POST", f"{PREDICT}?x=1"),
        ("GET", f"{MODEL}?x=1"),
        ("GET", f"{MODEL}/"),
        ("GET", f"{MODEL}/versions/"),
        ("GET", "/v1/"),
        ("GET", "/v1/nothing"),
    ):
        yield Case(
            f"{method} {path}",
            method,
            path,
            ask if method != "GET" else b"",
            400,
            f"Malformed request: {method} {path}",
        )
    yield Case("no model's name", "GET", "/v1/models", b"", 400, "Missing model name in request.")
    yield Case(
        "a version too great",
        "POST",
        f"{MODEL}/versions/9223372036854775808:predict",
        ask,
        400,
        "Failed to convert version: 9223372036854775808 to numeric.",
    )
    yield Case(
        "an unknown version",
        "POST",
        f"{MODEL}/versions/50:predict",
        ask,
        404,
        "Servable not found for request: Specific(conformance, 50)",
    )
    yield Case(
        "an unknown model",
        "POST",
        "/v1/models/m:predict",
        ask,
        404,
        "Servable not found for request: Latest(m)",
    )
    yield Case(
        "an unknown label",
        "POST",
        f"{MODEL}/labels/new:predict",
        ask,
        400,
        "Unrecognized servable version label: new",
    )
    yield Case(
        "a label of an unknown model",
        "POST",
        "/v1/models/m/labels/new:predict",
        ask,
        400,
        "Unrecognized servable version label: new",
    )


def _status() -> Iterator[Case]:
    def of(*versions: int) -> dict[str, Any]:
        ok = {"error_code": "OK", "error_message": ""}
        return {
            "model_version_status": [
                {"version": str(version), "state": "AVAILABLE", "status": ok}
                for version in versions
            ]
        }

    yield Case("status", "GET", MODEL, b"", 200, of(2, 1))
    yield Case("status of a version", "GET", f"{MODEL}/versions/1", b"", 200, of(1))
    yield Case(
        "status of an unknown version",
        "GET",
        f"{MODEL}/versions/7",
        b"",
        404,
        "Could not find version 7 of model conformance",
    )
    yield Case(
        "status of an unknown model",
        "GET",
        "/v1/models/m",
        b"",
        404,
        "Could not find any versions of model m",
    )
    yield Case(
        "metadata of an unknown model",
        "GET",
        "/v1/models/m/metadata",
        b"",
        404,
        "Servable not found for request: Latest(m)",
    )


def _documents() -> Iterator[Case]:
    def predict(name: str, body: bytes, status: int, answer: Any) -> Case:
        return Case(name, "POST", PREDICT, body, status, answer)

    parse = "JSON Parse error: "
    yield predict("no body", b"", 400, parse + "The document is empty")
    yield predict("blanks", b" \n\t ", 400, parse + "The document is empty")
    for body in (
        b"{",
        b"[1",
        b'{"instances": [1,]}',
        b"{'instances': [1]}",
        b'{"instances"}',
        b"nul",
        b'{"instances": ["\n"]}',
        b'{"instances": [1e999]}',
        b"\xff",
    ):
        yield predict(f"malformed {body!r}", body, 400, parse)
    deep = b'{"instances": ' + b"[" * 500_000
    yield predict("nested without end", deep, 400, parse)
    closed = b'{"instances": ' + b"[" * 500_000 + b"]" * 500_000 + b"}"
    yield predict("nested very deep", closed, 400, parse)
    yield Case(
        "malformed JSON before an unknown model", "POST", "/v1/models/m:predict", b"{", 400, parse
    )
    for body in (b"[]", b"1", b"null", b'"x"', b"true"):
        yield predict(f"no object {body!r}", body, 400, "Is not object")
    for value in (1, None, ["x"], {"x": 1}):
        yield predict(
            f"signature_name {value!r}",
            _json({"signature_name": value, "instances": [1]}),
            400,
            "'signature_name' key must be a string value.",
        )
    yield predict(
        "an empty signature_name",
        _json({"signature_name": "", "instances": [1]}),
        200,
        {"predictions": [2.25]},
    )
    yield predict(
        "an unknown signature",
        _json({"signature_name": "x", "instances": [1]}),
        400,
        'Serving signature name: "x" not found in signature def',
    )
    yield Case(
        "an unknown version before an unknown signature",
        "POST",
        f"{MODEL}/versions/50:predict",
        _json({"signature_name": "x"}),
        404,
        "Specific(conformance, 50)",
    )
    yield predict(
        "an unknown signature before both keys",
        _json({"signature_name": "x", "instances": [1], "inputs": [1]}),
        400,
        "not found in signature def",
    )
    yield predict(
        "both keys",
        _json({"instances": [1], "inputs": [1]}),
        400,
        "expecting only one of 'inputs' or 'instances' keys to exist",
    )
    yield predict("neither key", b"{}", 400, "Missing 'inputs' or 'instances' key")
    for no_list in (1, None, "x", {"x": 1}):
        yield predict(
            f"instances {no_list!r}",
            _json({"instances": no_list}),
            400,
            "Expecting 'instances' to be an list/array",
        )
    yield predict("no instances", _json({"instances": []}), 400, "No values in 'instances' array")
    y = {"predictions": [2.25]}
    yield predict("bytes after the document", b'{"instances": [1]} and more', 200, y)
    yield predict("the first of equal keys", b'{"instances": [1], "instances": [3]}', 200, y)
    yield predict("unknown keys", _json({"instances": [1], "more": {"x": [1]}}), 200, y)
    yield predict("a byte order mark", b"\xef\xbb\xbf" + _json({"instances": [1]}), 200, y)


def _rows() -> Iterator[Case]:
    def predict(name: str, instances: Any, status: int, answer: Any, signature: str = "") -> Case:
        body = _json({"signature_name": signature, "instances": instances})
        return Case(f"row: {name}", "POST", PREDICT, body, status, answer)

    yield predict("scalars", [1, 2.0, -3.5e0], 200, {"predictions": [2.25, 2.5, 1.125]})
    yield predict("lists", [[1, 2], [4, 8]], 200, {"predictions": [[2.25, 2.5], [3.0, 4.0]]})
    yield predict("deeper lists", [[[4]], [[8]]], 200, {"predictions": [[[3.0]], [[4.0]]]})
    yield predict("empty lists", [[], []], 200, {"predictions": [[], []]})
    yield predict("objects", [{"x": 1}, {"x": 2}], 200, {"predictions": [2.25, 2.5]})
    yield predict(
        "NaN and Infinity",
        [float("nan"), float("inf"), float("-inf")],
        200,
        {"predictions": [float("nan"), float("inf"), float("-inf")]},
    )
    failed = "Failed to process element: "
    yield predict(
        "a string for a float",
        [1, "a"],
        400,
        f"{failed}1 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: \"a\" "
        "Type: String is not of expected type: float",
    )
    for value, kind in ((None, "Null"), (True, "True"), (False, "False")):
        yield predict(
            f"{kind} for a float", [value], 400, f"Type: {kind} is not of expected type: float"
        )
    yield predict(
        "an object for a float", [[{"x": 1}]], 400, "Type: Object is not of expected type: float"
    )
    yield predict("base64 for a float", [_b64(b"x")], 400, "is not of expected type: float")
    yield predict(
        "an integer that no float holds",
        [2**24],
        400,
        "Cannot convert JSON value: 16777216 to float without loss of precision.",
    )
    yield predict("the greatest integer of a float", [2**24 - 1], 200, {"predictions": [4194306.0]})
    yield predict("a number that no float holds", [1e39], 400, "without loss of precision.")
    yield predict(
        "lists of two sizes",
        [[1, 2], [1]],
        400,
        f"{failed}1 of 'instances' list. Error: INVALID_ARGUMENT: "
        "Expecting tensor size: 2 but got: 1",
    )
    yield predict(
        "lists of two shapes", [[1, 2], [[1], [2]]], 400, "Expecting shape [2] but got: [2,1]"
    )
    yield predict(
        "a ragged list",
        [[[1, 2], [3]]],
        400,
        "Encountered list at unexpected size: 1 at level: 1 expected size: 2",
    )
    yield predict(
        "a list beside a number",
        [[1, [2]]],
        400,
        "Encountered list at unexpected level: 1 expected < 1",
    )
    yield predict("a number beside a list", [[[1], 2]], 400, "found at incorrect level")
    yield predict(
        "a list among objects",
        [{"x": 1}, [1]],
        400,
        "Expecting object but got list at item 1 of input list",
    )
    yield predict(
        "an object among lists",
        [[1], {"x": 1}],
        400,
        "Expecting value/list but got object at item 1 of input list",
    )
    yield predict(
        "an unknown input",
        [{"z": 1}],
        400,
        f"{failed}0 key: z of 'instances' list. Error: INVALID_ARGUMENT: "
        "JSON object: does not have named input: z",
    )
    yield predict("an object without inputs", [{}], 400, "keys must be equal to: x")
    both = {"x": 1.5, "text": "a"}
    yield predict(
        "two inputs",
        [both, {"text": "b", "x": 2}],
        200,
        {"predictions": [{"text": "a", "twice": 3.0}, {"text": "b", "twice": 4.0}]},
        "both",
    )
    yield predict(
        "one of two inputs", [both, {"x": 1}], 400, "keys must be equal to: text,x", "both"
    )
    yield predict(
        "one input too many", [{**both, "z": 1}], 400, "does not have named input: z", "both"
    )
    yield predict(
        "a plain list for two inputs",
        [1],
        400,
        "instances is a plain list, but expecting list of objects",
        "both",
    )
    yield predict("no batch dimension", [1, 2], 400, "has no shape information", "total")
    yield predict("two batch dimensions", [1, 2], 400, "has inconsistent batch size", "uneven")
    yield predict("an operation fails", [1, 2, 3], 400, "Reshape", "pairs_only")
    yield predict(
        "outputs of several types and shapes",
        [1, 123456.78],
        200,
        {
            "predictions": [
                {"certain": False, "label": "1.0", "map": [[1.0, -0.5], [0.25, 0.0]]},
                {
                    "certain": True,
                    "label": "123456.8",
                    "map": [[123456.781, -61728.3906], [30864.1953, 0.0]],
                },
            ]
        },
        "mixed",
    )
    yield predict("half", [1, 0.1], 200, {"predictions": [1.0, 0.0999755859]}, "halves")
    yield predict(
        "a type without JSON", [1], 400, "Failed to write JSON value for tensor type", "unwritable"
    )
    yield predict(
        "half is not read", [1], 400, "Conversion of JSON Value: 1 to type: half", "echo_half"
    )


def _columns() -> Iterator[Case]:
    def predict(name: str, inputs: Any, status: int, answer: Any, signature: str = "") -> Case:
        body = _json({"signature_name": signature, "inputs": inputs})
        return Case(f"columnar: {name}", "POST", PREDICT, body, status, answer)

    yield predict("a scalar", 1, 200, {"outputs": 2.25})
    yield predict("a list", [1, 2], 200, {"outputs": [2.25, 2.5]})
    yield predict("an empty list", [], 200, {"outputs": []})
    yield predict("by name", {"x": [1, 2]}, 200, {"outputs": [2.25, 2.5]})
    yield predict("keys too many", {"x": [1], "z": "?"}, 200, {"outputs": [2.25]})
    yield predict("a key missing", {"z": 1}, 400, "Missing named input: x in 'inputs' object.")
    yield predict(
        "a string for a float",
        ["a"],
        400,
        'JSON Value: "a" Type: String is not of expected type: float',
    )
    yield predict(
        "a ragged list",
        [[1, 2], [3]],
        400,
        "Encountered list at unexpected size: 1 at level: 1 expected size: 2",
    )
    yield predict(
        "two inputs",
        {"x": [1, 2], "text": "a"},
        200,
        {"outputs": {"text": "a", "twice": [2.0, 4.0]}},
        "both",
    )
    yield predict(
        "a plain list for two inputs",
        [1],
        400,
        "inputs is a plain value/list, but expecting an object",
        "both",
    )
    yield predict("one of two inputs", {"x": 1}, 400, "Missing named input: text", "both")
    yield predict(
        "outputs of several types and shapes",
        [1, 123456.78],
        200,
        {
            "outputs": {
                "certain": [False, True],
                "label": ["1.0", "123456.8"],
                "map": [[[1.0, -0.5], [0.25, 0.0]], [[123456.781, -61728.3906], [30864.1953, 0.0]]],
            }
        },
        "mixed",
    )
    yield predict("no batch dimension", [1, 2], 200, {"outputs": 3.0}, "total")
    yield predict(
        "two batch dimensions",
        [1],
        200,
        {"outputs": {"first": [1.0], "second": [1.0, 1.0]}},
        "uneven",
    )


def _types() -> Iterator[Case]:
    def echo(dtype: str, values: Any, status: int, answer: Any = None) -> Case:
        body = _json({"signature_name": f"echo_{dtype}", "instances": values})
        if status == 200:
            answer = {"predictions": values if answer is None else answer}
        return Case(f"{dtype}: {values!r}", "POST", PREDICT, body, status, answer)

    yield echo("float", [0.1, 1e-7, 123456.78, 3.4e38], 200, [0.1, 1e-7, 123456.781, 3.4e38])
    yield echo("double", [0.1, 1e300, 123456789.123], 200)
    yield echo("double", [2**53], 400, "to double without loss of precision.")
    limits = {
        "int32": (-(2**31), 2**31 - 1),
        "uint32": (0, 2**32 - 1),
        "int64": (-(2**63), 2**63 - 1),
        "uint64": (0, 2**64 - 1),
    }
    for dtype, (least, most) in limits.items():
        yield echo(dtype, [least, most], 200)
        yield echo(dtype, [least - 1], 400, f"is not of expected type: {dtype}")
        yield echo(dtype, [most + 1], 400, f"is not of expected type: {dtype}")
    for dtype in ("int8", "uint8", "int16", *limits):
        yield echo(dtype, [0, 1, 100], 200)
        yield echo(dtype, [1.0], 400, f"Type: Number is not of expected type: {dtype}")
        yield echo(dtype, [True], 400, f"Type: True is not of expected type: {dtype}")
    yield echo("bool", [True, False], 200)
    for value in (1, 0, "true", None):
        yield echo("bool", [value], 400, "is not of expected type: bool")
    yield echo("string", ["a", "", "\u00e9\U0001f415"], 200)
    yield echo("string", [_b64(b"photo")], 200, ["photo"])
    yield echo("string", [{"b64": "cGhvdG8="}, {"b64": "cGhv dG8"}], 200, ["photo", "photo"])
    for value in (1, None, True):
        yield echo("string", [value], 400, "is not of expected type: string")
    for text in ("?", "cGhvdG8-", "a"):
        yield echo("string", [{"b64": text}], 400, "Unable to base64 decode")
    yield echo("string", [[{"b64": 1}]], 400, "not formatted correctly for base64 data")
    yield echo(
        "string", [[{"b64": "YQ==", "x": 1}]], 400, "not formatted correctly for base64 data"
    )
    bytes_body = _json({"signature_name": "bytes", "instances": [_b64(b"\xff\x00"), "a"]})
    yield Case(
        "a name that ends in _bytes",
        "POST",
        PREDICT,
        bytes_body,
        200,
        {"predictions": [_b64(b"\xff\x00"), _b64(b"a")]},
    )


def _examples() -> Iterator[Case]:
    def infer(method: str, name: str, body: Any, status: int, answer: Any) -> Case:
        path = f"{MODEL}/versions/1:{method}"
        return Case(f"{method}: {name}", "POST", path, _json(body), status, answer)

    two = [{"x": 2.0}, {"x": 4.0}]
    for signature in ("regress", "regress_column"):
        yield infer(
            "regress",
            signature,
            {"signature_name": signature, "examples": two},
            200,
            {"results": [3.0, 4.0]},
        )
    pairs = [[["up", 3.0], ["down", -3.0]], [["up", 4.0], ["down", -4.0]]]
    for signature, answer in (
        ("classify", pairs),
        ("classify_scores", [[["", score] for _, score in row] for row in pairs]),
        ("classify_classes", [[[label, 0.0] for label, _ in row] for row in pairs]),
    ):
        yield infer(
            "classify",
            signature,
            {"signature_name": signature, "examples": two},
            200,
            {"results": answer},
        )
    named = {"signature_name": "regress"}
    yield infer(
        "regress",
        "a context",
        {**named, "context": {"x": 2.0}, "examples": [{}]},
        200,
        {"results": [3.0]},
    )
    yield infer(
        "regress",
        "a list as a feature",
        {**named, "examples": [{"x": [2.0]}]},
        200,
        {"results": [3.0]},
    )
    yield infer(
        "regress",
        "features that nobody asks for",
        {**named, "examples": [{"x": 2.0, "a": 1, "b": "c", "d": _b64(b"e"), "f": True}]},
        200,
        {"results": [3.0]},
    )
    yield infer("regress", "no examples", named, 400, "key 'examples' is expected")
    yield infer(
        "regress",
        "examples of one",
        {**named, "examples": {}},
        400,
        "Expecting 'examples' value to be an list/array",
    )
    yield infer(
        "regress",
        "empty examples",
        {**named, "examples": []},
        400,
        "'examples' value is an empty array",
    )
    yield infer(
        "regress",
        "an example that is no object",
        {**named, "examples": [1]},
        400,
        "Example must be JSON object but got JSON Number",
    )
    yield infer(
        "regress",
        "a feature of null",
        {**named, "examples": [{"x": None}]},
        400,
        "Feature: x has element with unexpected JSON type: Null",
    )
    yield infer(
        "regress",
        "a feature of lists",
        {**named, "examples": [{"x": [[1]]}]},
        400,
        "Feature: x has element with unexpected JSON type: Array",
    )
    yield infer(
        "regress",
        "a feature of an object",
        {**named, "examples": [{"x": {"y": 1}}]},
        400,
        "Feature: x has element with unexpected JSON type: Object",
    )
    yield infer(
        "regress",
        "a feature of two types",
        {**named, "examples": [{"x": [1, 2.0]}]},
        400,
        "Unexpected element type in feature: x expecting type: int64",
    )
    yield infer(
        "regress",
        "a feature of uint64",
        {**named, "examples": [{"x": 2**63}]},
        400,
        "Feature: x has uint64 element. Only int64 is supported.",
    )
    yield infer(
        "regress",
        "a feature of another type than the graph's",
        {**named, "examples": [{"x": "a"}]},
        400,
        "Data types don't match",
    )
    yield infer(
        "regress",
        "one number for all",
        {"signature_name": "regress_total", "examples": two},
        400,
        "Expected output Tensor shape to be either [batch_size] or [batch_size, 1]",
    )
    yield infer(
        "classify",
        "scores of one dimension",
        {"signature_name": "classify_flat", "examples": two},
        400,
        "Expected Tensor shape: [batch_size num_classes] but got",
    )
    yield infer(
        "classify",
        "the default signature",
        {"examples": two},
        400,
        "Expected classification signature method_name to be tensorflow/serving/classify. "
        "Was: tensorflow/serving/predict",
    )
    yield infer(
        "regress",
        "the default signature",
        {"examples": two},
        400,
        "Expected regression signature method_name to be tensorflow/serving/regress. "
        "Was: tensorflow/serving/predict",
    )
    yield infer(
        "classify",
        "an unknown signature",
        {"signature_name": "x", "examples": two},
        400,
        "No signature was found with the name: x",
    )
    yield Case(
        "classify: an unknown model",
        "POST",
        "/v1/models/m:classify",
        _json({"examples": two}),
        404,
        "Servable not found for request: Latest(m)",
    )


CASES = [
    case
    for cases in (_routing, _status, _documents, _rows, _columns, _types, _examples)
    for case in cases()
]
