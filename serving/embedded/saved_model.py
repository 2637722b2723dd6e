"""A SavedModel, loaded and run as TF Serving does it: in a session of TensorFlow 1."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
from tensorflow_serving.apis import prediction_log_pb2

from data.contract.servable import DEFAULT_SIGNATURE, WARM_UP
from serving.embedded.servable import Signature, Tensor, TensorInfo
from serving.embedded.status import Code, RequestError, invalid

MAX_WARM_UP = 1000
"""TF Serving refuses to load a model with more."""


class SavedModel:
    """A loaded version of a model.

    A call by way of `tf.saved_model.load` takes four times as long, and holds the interpreter lock.

    Args:
        path: the folder with `saved_model.pb`.
        timeout_ms: how long a call may take.

    Raises:
        RequestError: it cannot be loaded.
    """

    def __init__(self, path: Path, timeout_ms: int) -> None:
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph)
        try:
            with graph.as_default():
                meta_graph = tf.compat.v1.saved_model.loader.load(
                    self._session, [tf.saved_model.SERVING], str(path)
                )
            self.signature_defs: dict[str, meta_graph_pb2.SignatureDef] = dict(
                meta_graph.signature_def.items()
            )
            self.signatures = {name: _signature(each) for name, each in self.signature_defs.items()}
            self._calls = {
                name: self._callable(signature, timeout_ms)
                for name, signature in self.signatures.items()
                if signature.inputs and signature.outputs
            }
        # What a damaged file raises depends on where the damage is, and spans unrelated types.
        except Exception as error:
            self._session.close()
            raise _load_error(path, error) from error

    def run(self, name: str, feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Calls a signature.

        Args:
            name: of the signature, one of `signatures`.
            feeds: a tensor for each of its inputs.

        Returns:
            A tensor for each output, in the order of the names.

        Raises:
            RequestError: an operation fails, or the call takes too long.
        """
        signature = self.signatures[name]
        try:
            fetched = self._calls[name](*(feeds[key] for key in signature.inputs))
        except tf.errors.OpError as error:
            raise RequestError(Code(error.error_code), error.message) from None
        except UnicodeDecodeError:  # some errors repeat the bytes that they are about
            raise invalid("an operation failed on bytes that its error repeats") from None
        values = {info.tensor: feeds[key] for key, info in signature.inputs.items()}
        values |= zip(_computed(signature), map(_array, fetched), strict=True)
        return {key: values[info.tensor] for key, info in signature.outputs.items()}

    def describe(self) -> dict[str, Any]:
        """The signatures as the metadata of the REST API holds them."""
        return {
            name: json_format.MessageToDict(
                each, always_print_fields_with_no_presence=True, preserving_proto_field_name=True
            )
            for name, each in self.signature_defs.items()
        }

    def close(self) -> None:
        """Frees what the model holds; it cannot be used after that."""
        self._calls.clear()
        self._session.close()

    def _callable(self, signature: Signature, timeout_ms: int) -> Any:
        options = config_pb2.CallableOptions()
        options.feed.extend(info.tensor for info in signature.inputs.values())
        options.fetch.extend(_computed(signature))
        options.run_options.timeout_in_ms = timeout_ms
        # Not public, and 5 to 10 times as fast as Session.run: a test says when it is gone.
        return self._session._make_callable_from_options(options)


def warm_up(model: SavedModel, path: Path) -> int:
    """Replays the requests that a model's folder holds for this; returns how many there were.

    Raises:
        RequestError: a record cannot be read or answered, or there are too many.
    """
    file = path / WARM_UP
    if not file.is_file():
        return 0
    count = 0
    try:
        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
            count += 1
            if count > MAX_WARM_UP:
                raise invalid(f"Number of warmup records exceeds the maximum ({MAX_WARM_UP})")
            _replay(model, prediction_log_pb2.PredictionLog.FromString(record))
    except RequestError:
        raise
    except tf.errors.OpError as error:
        raise RequestError(Code(error.error_code), error.message) from None
    except Exception as error:  # a damaged one, like a damaged model, can raise anything
        reason = f"warm-up request {count} is damaged: {_first_line(error)}"
        raise RequestError(Code.DATA_LOSS, reason) from error
    return count


def _replay(model: SavedModel, log: prediction_log_pb2.PredictionLog) -> None:
    kind = log.WhichOneof("log_type")
    if kind != "predict_log":
        raise RequestError(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {kind}")
    request = log.predict_log.request
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    if name not in model.signatures:
        raise invalid(f"a warm-up request asks for the signature {name}, which is not there")
    expected = model.signatures[name].inputs
    if request.inputs.keys() != expected.keys():
        raise invalid(
            f"a warm-up request has the inputs {', '.join(sorted(request.inputs))}; the signature "
            f"takes {', '.join(sorted(expected))}"
        )
    model.run(name, {key: tf.make_ndarray(value) for key, value in request.inputs.items()})


def _signature(definition: meta_graph_pb2.SignatureDef) -> Signature:
    return Signature(
        method=definition.method_name,
        inputs=_tensors(definition.inputs),
        outputs=_tensors(definition.outputs),
    )


def _array(value: Any) -> Tensor:
    """What a call gives as an array: a single string comes as bytes."""
    return np.array(value, object) if isinstance(value, bytes) else np.asarray(value)


def _computed(signature: Signature) -> list[str]:
    """The tensors that a call computes: outputs that are not inputs as well, each once."""
    fed = {info.tensor for info in signature.inputs.values()}
    return list(
        dict.fromkeys(info.tensor for info in signature.outputs.values() if info.tensor not in fed)
    )


def _tensors(infos: Mapping[str, meta_graph_pb2.TensorInfo]) -> dict[str, TensorInfo]:
    """In the order of the names; sparse tensors have no form in JSON and are left out."""
    return {
        name: TensorInfo(info.name, type_name(info.dtype))
        for name, info in sorted(infos.items())
        if info.name
    }


def type_name(dtype: int) -> str:
    """TensorFlow's own name for a type: float for what Python calls float32.

    The initialization of a model is a signature as well; its output is not a tensor and has no
    type.
    """
    try:
        name = tf.dtypes.as_dtype(dtype).name
    except TypeError:
        return "invalid"
    return {"float16": "half", "float32": "float", "float64": "double"}.get(name, name)


def _load_error(path: Path, error: Exception) -> RequestError:
    code = Code(error.error_code) if isinstance(error, tf.errors.OpError) else Code.UNKNOWN
    return RequestError(code, f"{path} cannot be loaded: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
