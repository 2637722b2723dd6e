import pytest

from components.errors import ComponentError
from data.contract.errors import Exit, UsageError, UserError
from data.errors import DataError
from pipeline.config import ConfigError
from pipeline.workdir import WorkdirError
from serving.asking.errors import ModelError
from serving.embedded.errors import ServerConfigError, ServerError


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ComponentError, Exit.FAILED),
        (ConfigError, Exit.USAGE),
        (DataError, Exit.FAILED),
        (ModelError, Exit.FAILED),
        (ServerConfigError, Exit.USAGE),
        (ServerError, Exit.FAILED),
        (UsageError, Exit.USAGE),
        (WorkdirError, Exit.FAILED),
    ],
)
def test_an_error_that_a_user_can_mend_has_its_exit_status(
    error: type[UserError], status: Exit
) -> None:
    assert error("what and how").exit_status is status
