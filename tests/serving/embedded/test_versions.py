"""Versions of a model: what is loaded when, and what is kept when something goes wrong."""

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from serving.embedded.servable import Signature, Tensor
from serving.embedded.status import Code, RequestError
from serving.embedded.versions import Model, Policy, State


class Loaded:
    """Stands in for what is loaded of a version."""

    signatures: Mapping[str, Signature] = {}

    def __init__(self, path: Path) -> None:
        self.path = path
        self.closed = False

    def run(self, name: str, feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        raise NotImplementedError

    def close(self) -> None:
        self.closed = True


def load(path: Path) -> Loaded:
    if (path / "saved_model.pb").read_text() == "corrupt":
        raise RequestError(Code.DATA_LOSS, f"{path.name} is corrupt")
    return Loaded(path)


def write(base: Path, version: int | str, content: str = "model") -> None:
    folder = base / str(version)
    (folder / "variables").mkdir(parents=True)
    (folder / "variables" / "variables.index").touch()
    (folder / "saved_model.pb").write_text(content)


def model_of(base: Path, policy: Policy | None = None) -> Model:
    return Model("m", base, load, policy or Policy())


def states(model: Model) -> dict[int, str]:
    return {status.version: status.state.value for status in model.statuses()}


def in_use(model: Model, version: int | None = None) -> int:
    with model.use(version) as (number, loaded, _):
        assert isinstance(loaded, Loaded)
        assert loaded.path.name == str(number)
        assert not loaded.closed
    return number


@pytest.mark.parametrize(
    ("policy", "chosen"),
    [
        (Policy(), [10]),
        (Policy(latest=2), [10, 9]),
        (Policy(latest=None), [10, 9, 2]),
        (Policy(specific=(2, 9, 11)), [9, 2]),
    ],
)
def test_a_policy_chooses_by_number_newest_first(policy: Policy, chosen: list[int]) -> None:
    assert policy.choose([2, 10, 9]) == chosen


def test_the_newest_version_takes_over_and_the_one_before_is_let_go(tmp_path: Path) -> None:
    model = model_of(tmp_path)
    write(tmp_path, 1)
    model.refresh()
    with model.use() as (number, first, _):
        assert number == 1
    write(tmp_path, 2)
    model.refresh()
    assert in_use(model) == 2
    assert isinstance(first, Loaded)
    assert first.closed
    assert states(model) == {2: "AVAILABLE", 1: "END"}
    with pytest.raises(RequestError, match=r"Specific\(m, 1\)"):
        in_use(model, 1)


def test_a_version_in_use_is_let_go_only_after_that(tmp_path: Path) -> None:
    model = model_of(tmp_path)
    write(tmp_path, 1)
    model.refresh()
    write(tmp_path, 2)
    with model.use() as (_, first, _):
        assert isinstance(first, Loaded)
        thread = threading.Thread(target=model.refresh)
        thread.start()
        while states(model) != {2: "AVAILABLE", 1: "UNLOADING"}:
            pass
        assert not first.closed
        assert in_use(model) == 2
    thread.join()
    assert first.closed


def test_a_version_that_cannot_be_freed_is_let_go_of_all_the_same(tmp_path: Path) -> None:
    class Stuck(Loaded):
        def close(self) -> None:
            raise OSError("stuck")

    model = Model("m", tmp_path, Stuck)
    write(tmp_path, 1)
    model.refresh()
    write(tmp_path, 2)
    with pytest.raises(OSError, match="stuck"):
        model.refresh()
    assert states(model) == {2: "AVAILABLE", 1: "END"}


def test_a_version_that_cannot_be_loaded_leaves_the_one_before(tmp_path: Path) -> None:
    model = model_of(tmp_path)
    write(tmp_path, 1)
    model.refresh()
    write(tmp_path, 2, "corrupt")
    model.refresh()
    assert in_use(model) == 1
    newest = model.statuses()[0]
    assert newest.version == 2
    assert newest.state is State.END
    assert newest.code is Code.DATA_LOSS
    assert newest.message == "2 is corrupt"


def test_a_version_that_failed_is_tried_again_only_when_it_has_changed(tmp_path: Path) -> None:
    tried: list[str] = []

    def counting(path: Path) -> Loaded:
        tried.append(path.name)
        return load(path)

    model = Model("m", tmp_path, counting)
    write(tmp_path, 2, "corrupt")
    for _ in range(3):
        model.refresh()
    assert tried == ["2"]
    (tmp_path / "2" / "saved_model.pb").write_text("mended")
    model.refresh()
    assert tried == ["2", "2"]
    assert in_use(model) == 2


def test_a_mended_version_is_loaded_though_it_is_as_long_and_as_old(tmp_path: Path) -> None:
    model = model_of(tmp_path)
    write(tmp_path, 1, "corrupt")
    model.refresh()
    assert states(model) == {1: "END"}
    file = tmp_path / "1" / "saved_model.pb"
    before = file.stat()
    while file.stat().st_ctime_ns == before.st_ctime_ns:  # the clock of files is a coarse one
        file.write_text("mended!")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    model.refresh()
    assert in_use(model) == 1


@pytest.mark.parametrize("missing", ["saved_model.pb", "variables/variables.index"])
def test_a_half_written_version_is_not_touched(tmp_path: Path, missing: str) -> None:
    model = model_of(tmp_path)
    write(tmp_path, 1)
    write(tmp_path, 2)
    (tmp_path / "2" / missing).unlink()
    model.refresh()
    assert states(model) == {1: "AVAILABLE"}
    (tmp_path / "2" / missing).write_text("model")
    model.refresh()
    assert in_use(model) == 2


@pytest.mark.parametrize("name", ["01", "-1", "1.5", "v1", "tmp-1", "9223372036854775808", "१"])
def test_a_folder_of_another_name_is_not_a_version(tmp_path: Path, name: str) -> None:
    write(tmp_path, name)
    model = model_of(tmp_path)
    model.refresh()
    assert not model.statuses()
    with pytest.raises(RequestError, match=r"Latest\(m\)") as caught:
        in_use(model)
    assert caught.value.code is Code.NOT_FOUND


def test_a_folder_that_cannot_be_read_changes_nothing(tmp_path: Path) -> None:
    base = tmp_path / "base"
    write(base, 1)
    model = model_of(base)
    model.refresh()
    base.rename(tmp_path / "elsewhere")
    model.refresh()
    assert in_use(model) == 1


def test_an_emptied_folder_ends_the_serving(tmp_path: Path) -> None:
    base = tmp_path / "base"
    write(base, 1)
    model = model_of(base)
    model.refresh()
    (base / "1").rename(tmp_path / "1")
    model.refresh()
    assert states(model) == {1: "END"}


def test_close_lets_go_of_all(tmp_path: Path) -> None:
    for version in (1, 2):
        write(tmp_path, version)
    model = model_of(tmp_path, Policy(latest=None))
    model.refresh()
    loaded = []
    for version in (1, 2):
        with model.use(version) as (_, each, _):
            loaded.append(each)
    model.close()
    assert all(isinstance(each, Loaded) and each.closed for each in loaded)


def test_no_request_is_lost_while_versions_come_and_go(tmp_path: Path) -> None:
    model = model_of(tmp_path)
    write(tmp_path, 1)
    model.refresh()
    done = threading.Event()
    failures: list[BaseException] = []

    def until_done(work: Callable[[], object]) -> None:
        try:
            while not done.is_set():
                work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=until_done, args=[lambda: in_use(model)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for version in range(2, 30):
        write(tmp_path, version)
        model.refresh()
    done.set()
    for thread in threads:
        thread.join()
    assert not failures
