import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from components.errors import ComponentError
from components.training.checkpoint import (
    PhaseCheckpoint,
    committed_epochs,
    is_finished,
    remove,
)
from components.training.history import Epoch


def history(*val_losses: float) -> list[Epoch]:
    return [{"val_loss": value} for value in val_losses]


def new_model(*, half: bool = False) -> keras.Model:
    model = keras.Sequential([keras.Input([1]), keras.layers.Dense(1, use_bias=False)])
    adam = keras.optimizers.Adam()
    model.compile(keras.optimizers.LossScaleOptimizer(adam) if half else adam, "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def weight(model: keras.Model) -> float:
    return float(np.ravel(model.get_weights()[0])[0])


def start(folder: Path, *, epochs: int = 9, patience: int = 9) -> PhaseCheckpoint:
    checkpoint = PhaseCheckpoint(folder, epochs=epochs, patience=patience)
    checkpoint.set_model(new_model())
    return checkpoint


def train(checkpoint: PhaseCheckpoint, *val_losses: float) -> None:
    """Epochs whose weight and step count are the number of the epoch in the phase."""
    for val_loss in val_losses:
        number = len(checkpoint.history) + 1
        checkpoint.model.set_weights([np.full((1, 1), number)])
        checkpoint.model.optimizer.iterations.assign(number)
        checkpoint.on_epoch_end(0, {"val_loss": val_loss})


def restored(folder: Path) -> keras.Model:
    model = new_model()
    PhaseCheckpoint(folder, epochs=9, patience=9).restore_state(model)
    return model


def kept(folder: Path) -> keras.Model:
    model = new_model()
    PhaseCheckpoint(folder, epochs=9, patience=9).restore_kept(model)
    return model


@pytest.mark.parametrize(
    ("val_losses", "finished"),
    [
        ((), False),
        ((0.5, 0.6), False),
        ((0.5, 0.6, 0.7), True),  # two without a better one
        ((0.5, 0.6, 0.4, 0.4), False),
        ((0.5, 0.6, 0.4, 0.4, 0.4), True),
        ((0.5, 0.4, 0.3, 0.2, 0.1), True),  # all epochs
    ],
)
def test_a_phase_ends_with_its_epochs_or_its_patience(
    val_losses: tuple[float, ...], finished: bool
) -> None:
    assert is_finished(history(*val_losses), epochs=5, patience=2) is finished


def test_a_phase_that_keeps_its_last_epoch_needs_no_validation(tmp_path: Path) -> None:
    checkpoint = PhaseCheckpoint(tmp_path, epochs=3, patience=None)
    checkpoint.set_model(new_model())
    for number in (1, 2, 3):
        assert not checkpoint.finished
        checkpoint.model.set_weights([np.full((1, 1), number)])
        checkpoint.on_epoch_end(0, {"loss": float(number)})
        assert checkpoint.kept == number - 1
    assert checkpoint.finished
    model = new_model()
    checkpoint.restore_kept(model)
    assert weight(model) == 3


def test_a_new_phase_has_nothing_behind_it(tmp_path: Path) -> None:
    model = new_model()
    before = weight(model)
    checkpoint = PhaseCheckpoint(tmp_path / "phase", epochs=1, patience=1)
    checkpoint.restore_state(model)
    checkpoint.restore_kept(model)
    assert (checkpoint.history, checkpoint.finished, weight(model)) == ([], False, before)


def test_a_phase_goes_on_where_it_was(tmp_path: Path) -> None:
    train(start(tmp_path), 0.9, 0.5, 0.7)
    again = start(tmp_path)
    assert again.history == history(0.9, 0.5, 0.7)
    again.restore_state(again.model)
    assert weight(again.model) == 3
    assert int(again.model.optimizer.iterations) == 3
    train(again, 0.6)
    assert start(tmp_path).history == history(0.9, 0.5, 0.7, 0.6)


@pytest.mark.parametrize("half", [False, True])
def test_a_phase_goes_on_in_the_other_precision(tmp_path: Path, half: bool) -> None:
    before = PhaseCheckpoint(tmp_path, epochs=9, patience=9)
    before.set_model(new_model(half=half))
    train(before, 0.9, 0.5)
    model = new_model(half=not half)
    start(tmp_path).restore_state(model)
    assert weight(model) == 2
    assert int(model.optimizer.iterations) == 2


def test_the_best_weights_are_kept_and_not_the_last(tmp_path: Path) -> None:
    train(start(tmp_path), 0.9, 0.5, 0.7)
    assert weight(kept(tmp_path)) == 2
    train(start(tmp_path), 0.6)
    assert weight(kept(tmp_path)) == 2
    train(start(tmp_path), 0.4)
    assert weight(kept(tmp_path)) == 5


@pytest.mark.parametrize("file", ["history.json", "state.npz", "kept.npz"])
@pytest.mark.parametrize("length", [0, 5, -30, None])
def test_an_epoch_that_a_power_cut_has_damaged_is_named(
    tmp_path: Path, file: str, length: int | None
) -> None:
    phase = tmp_path / "training" / "phase"
    train(start(phase), 0.9)
    damaged = phase / "epoch-00001" / file
    if length is None:
        damaged.unlink()
    else:
        damaged.write_bytes(damaged.read_bytes()[:length])
    wanted = f"^{damaged.parent} is damaged: delete {phase.parent} and run again$"
    read = kept if file == "kept.npz" else restored
    with pytest.raises(ComponentError, match=wanted):
        read(phase)


def test_early_stopping_counts_the_epochs_before_a_kill(tmp_path: Path) -> None:
    before = start(tmp_path, patience=2)
    train(before, 0.5, 0.6)
    assert not before.model.stop_training
    after = start(tmp_path, patience=2)
    assert not after.finished
    train(after, 0.7)
    assert after.finished
    assert after.model.stop_training


@pytest.mark.parametrize(
    ("place", "killed_at"), [(np, "savez"), (shutil, "copyfile"), (Path, "rename")]
)
def test_a_kill_while_an_epoch_is_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Any, killed_at: str
) -> None:
    train(start(tmp_path), 0.9)
    before = start(tmp_path)

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patches:
        patches.setattr(place, killed_at, kill)
        with pytest.raises(KeyboardInterrupt):
            train(before, 1.0)
    assert [path.name for path in tmp_path.iterdir() if path.suffix] == ["epoch-00002.tmp"]
    after = start(tmp_path)
    assert after.history == history(0.9)
    assert weight(restored(tmp_path)) == weight(kept(tmp_path)) == 1
    train(after, 0.4)
    assert start(tmp_path).history == history(0.9, 0.4)
    assert weight(kept(tmp_path)) == 2
    assert len(list(tmp_path.iterdir())) == 1


def test_a_kill_before_the_old_epoch_is_gone_leaves_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = start(tmp_path)
    train(checkpoint, 0.9)
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    train(checkpoint, 0.5)
    monkeypatch.undo()
    assert len(list(tmp_path.iterdir())) == 2
    assert start(tmp_path).history == history(0.9, 0.5)
    assert weight(restored(tmp_path)) == 2


class Killed(BaseException):
    """Raised in place of a request to the file system that is no longer made."""


KILLABLE = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate"}
left: list[int] = []
"""How many more operations a process about to be killed has; empty for one that is not."""


def count_down(event: str, arguments: tuple[Any, ...]) -> None:
    if left and event in KILLABLE:
        left[0] -= 1
        if left[0] < 0:
            raise Killed


@pytest.fixture(scope="session", autouse=True)
def watched_file_system() -> None:
    sys.addaudithook(count_down)  # for the rest of the process, which is why it is so small


@pytest.fixture(autouse=True)
def spared() -> Iterator[None]:
    yield
    left.clear()


def kill_at_every_operation(prepare: Callable[[], Callable[[], None]]) -> Iterator[None]:
    """Does something repeatedly, killed one file-system operation later each time.

    Args:
        prepare: makes what it starts from, and returns what to do.
    """
    for operations in range(1000):
        act = prepare()
        left[:] = [operations]
        try:
            act()
        except Killed:
            left.clear()
            yield
        else:
            left.clear()
            assert operations > 5, "the file system was not asked"
            return
    raise AssertionError("it has no end")


def test_an_epoch_that_is_killed_anywhere_leaves_one_to_go_on_from(tmp_path: Path) -> None:
    def prepare() -> Callable[[], None]:
        shutil.rmtree(tmp_path)
        checkpoint = start(tmp_path)
        train(checkpoint, 0.9)
        return lambda: train(checkpoint, 0.5)

    lengths = set()
    for _ in kill_at_every_operation(prepare):
        after = start(tmp_path)
        lengths.add(len(after.history))
        assert weight(restored(tmp_path)) == weight(kept(tmp_path)) == len(after.history)
        train(after, 0.4)
        assert weight(kept(tmp_path)) == len(after.history)
    assert lengths == {1, 2}


def test_a_training_whose_removal_is_killed_anywhere_is_there_whole_or_not_at_all(
    tmp_path: Path,
) -> None:
    training = tmp_path / "unfinished" / "key"

    def prepare() -> Callable[[], None]:
        shutil.rmtree(tmp_path)
        for phase in ("frozen", "unfrozen"):
            train(start(training / phase), 0.9, 0.5)
        return lambda: remove(training)

    epochs = set()
    for _ in kill_at_every_operation(prepare):
        epochs.add(committed_epochs(training))
        for phase in ("frozen", "unfrozen"):
            again = start(training / phase)
            assert len(again.history) == committed_epochs(training) / 2
            again.restore_state(again.model)
    assert epochs == {4, 0}


def test_ten_thousand_epochs_are_still_in_order(tmp_path: Path) -> None:
    checkpoint = start(tmp_path, epochs=10_000, patience=10_000)
    checkpoint.history = history(*[0.9] * 9_998)
    train(checkpoint, 0.9, 0.5)
    assert len(start(tmp_path).history) == 10_000
    assert weight(kept(tmp_path)) == 10_000
