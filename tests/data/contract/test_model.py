import json

import pytest
from tfx.proto import pusher_pb2
from tfx.utils import proto_utils

from data.contract.model import base_directory, push_destination


@pytest.mark.parametrize("base", ["/runs/serving/dog_emotion", 'gs://b/"quoted"'])
def test_a_push_destination_is_that_of_tfx_and_names_the_folder(base: str) -> None:
    message = pusher_pb2.PushDestination()
    proto_utils.json_to_proto(push_destination(base), message)
    assert message.filesystem.base_directory == base
    assert base_directory(push_destination(base)) == base
    assert base_directory(proto_utils.proto_to_json(message)) == base


def test_a_slash_at_the_end_is_left_out() -> None:
    assert base_directory(push_destination("/a/b/")) == "/a/b"
    assert json.loads(push_destination("/a/b/"))["filesystem"] == {"baseDirectory": "/a/b/"}
