import subprocess
import sys
from pathlib import Path

import pytest

from components.errors import ComponentError
from components.model import backbone


def test_each_module_of_the_folder_is_a_backbone() -> None:
    folder = Path(backbone.__file__).with_name("backbones")
    modules = {file.stem for file in folder.glob("*.py")} - {"__init__"}
    assert modules == {*backbone.names()} >= {"efficientnet_b0", "efficientnet_lite0", "tiny"}
    for name in backbone.names():
        assert isinstance(backbone.find(name), backbone.Backbone)


def test_auto_prefers_b0_to_lite0_and_takes_no_other() -> None:
    assert backbone.preferred() == ["efficientnet_b0", "efficientnet_lite0"]


def test_an_unknown_one_is_named_with_those_that_exist() -> None:
    with pytest.raises(ComponentError, match=r"'resnet50': choose efficientnet_b0, .+, tiny"):
        backbone.find("resnet50")


def test_listing_them_needs_no_tensorflow() -> None:
    code = (
        "import sys; from components.model import backbone; "
        "print(backbone.names(), 'tensorflow' in sys.modules, 'keras' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert answer.stdout.decode().strip() == f"{backbone.names()} False False"
