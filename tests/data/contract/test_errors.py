import pytest

from components.errors import ComponentError
from data.contract.errors import Exit, UsageError, UserError, step_errors_raised
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


@pytest.mark.parametrize("cause", [OSError(28, "full"), DataError("bad"), KeyboardInterrupt()])
def test_what_a_step_of_beam_raised_is_raised(cause: BaseException) -> None:
    error = RuntimeError("OSError: [while running 'Map']")
    error.__cause__ = cause
    with pytest.raises(type(cause)) as caught, step_errors_raised():
        raise error
    assert caught.value is cause


def test_an_error_of_beams_own_stays() -> None:
    with pytest.raises(RuntimeError, match="no worker"), step_errors_raised():
        raise RuntimeError("no worker") from ValueError("port")
