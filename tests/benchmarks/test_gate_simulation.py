import pytest

from benchmarks.gate_simulation import drift, histories, worse
from components.evaluation.gate import CALIBRATION, NOT_WORSE_THAN_BEST, NOT_WORSE_THAN_LAST, RECALL
from components.evaluation.settings import GateSettings


def test_an_equally_good_model_is_blocked_no_more_often_than_stated() -> None:
    found = histories(10, seed=0)
    assert found.judged == 200
    assert found.blocked_in_all <= GateSettings().error_rate
    conditions = {RECALL, CALIBRATION, NOT_WORSE_THAN_LAST, NOT_WORSE_THAN_BEST}
    assert found.blocked.keys() == conditions
    assert all(share <= GateSettings().error_rate for share in found.blocked.values())


@pytest.mark.parametrize("loss", [0.03, 0.06])
def test_a_worse_model_is_caught_as_often_as_the_gate_says(loss: float) -> None:
    found = worse(200, seed=0, loss=loss)
    assert found.caught == pytest.approx(found.said, abs=0.1)  # three standard errors


def test_losses_that_each_pass_do_not_add_up() -> None:
    found = drift(4, seed=0)
    assert found.without_best > 0.15
    assert found.total < 0.6 * found.without_best
