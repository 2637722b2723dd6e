"""`promote`, `rollback` and `canary`, as a user types them."""

import json
import re
from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from data.contract.errors import Exit
from data.contract.servable import NEEDED_FILES
from pipeline.cli import main
from pipeline.commands import production as commands
from pipeline.production.production import Production
from pipeline.workdir import Workdir, hold
from serving.checking.interface import Interface
from tests.pipeline.production.folders import make_workdir


class Tried:
    """A folder with three versions, and the command line on it."""

    def __init__(self, root: Path) -> None:
        self.workdir = make_workdir(root, 17, 18, 19)
        self.file = self.workdir.serving.parent / "models.config"

    def __call__(self, *arguments: str) -> int:
        return main([*arguments, "--workdir", str(self.workdir.root)])

    @property
    def labels(self) -> dict[str, int]:
        return dict(Production(self.workdir).labels or {})

    @property
    def model(self) -> model_server_config_pb2.ModelConfig:
        """As TF Serving reads it."""
        config = text_format.Parse(
            self.file.read_text(), model_server_config_pb2.ModelServerConfig()
        )
        (model,) = config.model_config_list.config
        return model

    @property
    def loaded(self) -> list[int]:
        return list(self.model.model_version_policy.specific.versions)


@pytest.fixture
def tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tried:
    monkeypatch.setattr(commands, "print_check", lambda version: True)
    monkeypatch.setattr(commands, "_require_no_break", lambda *arguments: None)
    monkeypatch.setattr(commands, "_WAIT", 0)
    return Tried(tmp_path / "run")


def test_the_newest_version_is_promoted_if_none_is_named(tried: Tried) -> None:
    assert tried("promote") == Exit.DONE
    assert tried.labels == {"stable": 19}
    assert tried.loaded == [19]
    assert tried.model.name == "dog_emotion"
    assert tried.model.base_path == str(tried.workdir.serving)


def test_a_canary_is_served_beside_what_is_stable_and_then_promoted(tried: Tried) -> None:
    tried("promote", "17")
    assert tried("canary", "18") == Exit.DONE
    assert tried.labels == {"stable": 17, "canary": 18}
    assert tried.loaded == [17, 18]
    assert tried("promote") == Exit.DONE  # not 19, which nobody has tried
    assert tried.labels == {"stable": 18}
    assert tried.loaded == [18]


def test_a_canary_may_be_taken_away(tried: Tried) -> None:
    tried("promote", "17")
    tried("canary", "18")
    assert tried("canary", "--remove") == Exit.DONE
    assert tried.labels == {"stable": 17}
    assert tried("canary", "--remove") == Exit.FAILED


def test_the_canary_stays_while_another_version_is_promoted(tried: Tried) -> None:
    tried("promote", "17")
    tried("canary", "18")
    tried("promote", "19")
    assert tried.labels == {"stable": 19, "canary": 18}


def test_a_rollback_goes_back_and_the_next_one_further(
    tried: Tried, capsys: pytest.CaptureFixture[str]
) -> None:
    for version in ("17", "18", "19"):
        tried("promote", version)
    assert tried("rollback", "--reason", "19 calls every dog sad") == Exit.DONE
    assert tried.labels == {"stable": 18}
    assert tried("rollback") == Exit.DONE
    assert tried.labels == {"stable": 17}
    capsys.readouterr()
    assert tried("rollback") == Exit.FAILED
    (line,) = capsys.readouterr().err.splitlines()
    assert "nothing was stable before version 17" in line
    assert "17, 18, 19" in line
    tried("promote", "19")
    assert tried("rollback") == Exit.DONE
    assert tried.labels == {"stable": 17}


def test_what_is_promoted_again_changes_nothing(
    tried: Tried, capsys: pytest.CaptureFixture[str]
) -> None:
    tried("promote", "18")
    content = tried.file.read_text()
    capsys.readouterr()
    assert tried("promote", "18") == Exit.DONE
    assert "stable is 18 already; nothing has changed" in capsys.readouterr().out
    assert tried.file.read_text() == content


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["promote", "20"], "version 20 is not in"),
        (["canary", "18"], "nothing is stable yet"),
        (["rollback"], "nothing was stable before now"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    tried: Tried, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert tried(*arguments) == Exit.FAILED
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert not tried.file.exists()


def test_a_version_that_lacks_a_file_is_not_promoted(tried: Tried) -> None:
    (tried.workdir.serving / "18" / NEEDED_FILES[0]).unlink()
    assert tried("promote", "18") == Exit.FAILED
    assert not tried.file.exists()


def test_a_version_that_fails_its_check_is_not_promoted(
    tried: Tried, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried("promote", "17")
    monkeypatch.setattr(commands, "print_check", lambda version: version.name != "18")
    for command in ("promote", "canary"):
        assert tried(command, "18") == Exit.FAILED
    assert "version 18 could not be served: the labels are as before" in capsys.readouterr().err
    assert (tried.labels, tried.loaded) == ({"stable": 17}, [17])


@pytest.fixture
def other_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Version 18 has other classes than 17."""
    from serving.checking import interface

    def read(version: Path) -> Interface:
        return Interface({}, ("calm", "wild") if version.name == "18" else ("happy", "sad"))

    monkeypatch.setattr(interface, "read_interface", read)


def test_other_classes_need_a_person_to_let_them_in(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    other_classes: None,
) -> None:
    monkeypatch.setattr(commands, "print_check", lambda version: True)
    monkeypatch.setattr(commands, "_WAIT", 0)
    tried = Tried(tmp_path / "run")
    tried("promote", "17")
    capsys.readouterr()
    for command in ("promote", "canary"):
        assert tried(command, "18") == Exit.FAILED
        (line,) = capsys.readouterr().err.splitlines()
        assert "version 18 has classes calm, wild and not happy, sad" in line
        assert "dog-emotion bless 18 --force" in line
    assert tried("bless", "18", "--reason", "clients know") == Exit.USAGE
    assert tried("bless", "18", "--force", "--reason", " ") == Exit.USAGE
    assert tried("bless", "21", "--force", "--reason", "x") == Exit.FAILED
    assert tried.labels == {"stable": 17}
    assert tried("bless", "18", "--force", "--reason", "clients know") == Exit.DONE
    assert "dog-emotion promote 18" in capsys.readouterr().out
    assert tried("promote", "18") == Exit.DONE
    assert tried("rollback") == Exit.DONE  # there clients have been before
    assert tried.labels == {"stable": 17}
    told = [(event.command, event.why) for event in Production(tried.workdir).history()]
    assert told[1] == ("bless", "clients know")


def test_what_was_blessed_answers_at_once_as_long_as_nothing_was_promoted(
    tried: Tried, capsys: pytest.CaptureFixture[str]
) -> None:
    for version, answers in (("19", True), ("18", False)):
        assert tried("bless", version, "--force", "--reason", "it is the best") == Exit.DONE
        assert ("answers at once" in capsys.readouterr().out) == answers
    tried("promote", "17")
    assert tried("bless", "19", "--force", "--reason", "it is the best") == Exit.DONE
    assert "answers at once" not in capsys.readouterr().out


def test_servers_are_given_time_to_load_before_the_label_moves(
    tried: Tried, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried("promote", "17")
    seen: list[tuple[float, dict[str, int], list[int]]] = []
    monkeypatch.setattr(
        "time.sleep", lambda seconds: seen.append((seconds, tried.labels, tried.loaded))
    )
    tried("promote", "18", "--wait", "45")
    assert seen == [(45, {"stable": 17}, [17, 18])]
    assert (tried.labels, tried.loaded) == ({"stable": 18}, [18])


def test_a_server_that_does_not_load_it_leaves_all_as_before(
    tried: Tried, capsys: pytest.CaptureFixture[str]
) -> None:
    tried("promote", "17")
    content = tried.file.read_text()
    capsys.readouterr()
    assert tried("promote", "18", "--wait", "0", "--url", "http://127.0.0.1:9") == Exit.FAILED
    (line,) = capsys.readouterr().err.splitlines()
    assert "http://127.0.0.1:9 has not loaded version 18 within 0 seconds" in line
    assert tried.file.read_text() == content


def test_what_else_is_in_the_file_stays(tried: Tried) -> None:
    """Another model, and a base path as a container has it."""
    tried("promote", "17")
    other = 'config { name: "cats" base_path: "/models/cats" model_platform: "tensorflow" }'
    text = tried.file.read_text().replace("model_config_list {", f"model_config_list {{ {other}")
    tried.file.write_text(text.replace(str(tried.workdir.serving), "/models/dog_emotion"))
    tried("promote", "18")
    config = text_format.Parse(tried.file.read_text(), model_server_config_pb2.ModelServerConfig())
    assert [(each.name, each.base_path) for each in config.model_config_list.config] == [
        ("cats", "/models/cats"),
        ("dog_emotion", "/models/dog_emotion"),
    ]


def test_history_says_what_was_in_production_when_and_why(
    tried: Tried, capsys: pytest.CaptureFixture[str]
) -> None:
    tried("promote", "17")
    tried("canary", "18", "--reason", "more puppies")
    tried("promote")
    tried("rollback")
    capsys.readouterr()
    assert tried("history") == Exit.DONE
    lines = capsys.readouterr().out.splitlines()
    when = re.compile(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d +")
    told = lines[lines.index("in production") + 1 :]
    assert all(when.match(line) for line in told)
    assert [" ".join(when.sub("", line).split()) for line in told] == [
        "promote stable 17",
        "canary canary 18 more puppies",
        "promote stable 17 -> 18, canary 18 -> none",
        "rollback stable 18 -> 17",
    ]


def test_a_change_by_hand_is_in_the_history_too(tried: Tried) -> None:
    tried("promote", "17")
    tried.file.write_text(tried.file.read_text().replace(": 17\n", ": 18\n"))
    for _ in range(2):  # as it is told, and as the next command has recorded it
        told = [(event.command, event.moves) for event in Production(tried.workdir).history()]
        assert told[:2] == [
            ("promote", [("stable", None, 17)]),
            ("by hand", [("stable", 17, 18)]),
        ]
        tried("promote", "19")


def test_drift_says_why_there_is_no_version_to_compare_with(
    tried: Tried, capsys: pytest.CaptureFixture[str]
) -> None:
    tried("promote", "17")
    tried.file.write_text(tried.file.read_text().replace("stable", "old"))
    capsys.readouterr()
    assert tried("drift") == Exit.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert "models.config calls none stable: promote one" in line


def test_two_at_once_do_not_mix(tried: Tried, capsys: pytest.CaptureFixture[str]) -> None:
    with hold(tried.workdir.serving.parent / ".lock", "busy"):
        assert tried("promote") == Exit.FAILED
    (line,) = capsys.readouterr().err.splitlines()
    assert "another command is changing what" in line
    assert not tried.file.exists()


@pytest.mark.parametrize("content", ["model_config_list {", "\x00", "# last change: {}\nmodels {}"])
def test_a_damaged_file_is_named_and_kept(
    tried: Tried, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    tried.file.write_text(content)
    for command in ("promote", "history"):
        assert tried(command) == Exit.FAILED
        (line,) = capsys.readouterr().err.splitlines()
        assert "models.config is not a text ModelServerConfig" in line
    assert tried.file.read_text() == content


def test_a_damaged_history_is_named(tried: Tried, capsys: pytest.CaptureFixture[str]) -> None:
    tried("promote", "17")
    history = tried.file.with_name("production.jsonl")
    history.write_text("[]\n" + history.read_text())
    capsys.readouterr()
    assert tried("rollback") == Exit.FAILED
    assert "production.jsonl, line 1 is damaged" in capsys.readouterr().err


def test_half_a_line_that_a_power_cut_has_left_is_written_again(tried: Tried) -> None:
    tried("promote", "17")
    history = tried.file.with_name("production.jsonl")
    whole = history.read_text()
    history.write_text(whole[: len(whole) // 2])
    assert [event.after for event in Production(tried.workdir).history()] == [{"stable": 17}]
    tried("promote", "18")
    assert history.read_text().startswith(whole)
    assert [json.loads(line)["after"] for line in history.read_text().splitlines()] == [
        {"stable": 17},
        {"stable": 18},
    ]


def test_where_nothing_was_pushed_there_is_nothing_to_promote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir: Workdir = make_workdir(tmp_path / "empty")
    assert main(["promote", "--workdir", str(workdir.root)]) == Exit.USAGE
    assert "no version was pushed there" in capsys.readouterr().err
