import pytest

from data.contract.beam import StepCounter, step_errors_raised
from data.errors import DataError


def test_steps_are_counted_from_the_start_of_each_pipeline() -> None:
    counter = StepCounter()
    counter.add()  # nobody watches
    told: list[tuple[int, int]] = []
    counter.start(3, lambda done, total: told.append((done, total)))
    counter.add()
    counter.add(2)
    assert told == [(1, 3), (3, 3)]


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
