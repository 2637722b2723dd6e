"""`serve`: what it serves and follows, and what it says of options that cannot be."""

from pathlib import Path
from typing import Any

import pytest

from data.contract.errors import Exit
from pipeline.cli import main
from pipeline.commands import production as commands
from pipeline.workdir import Workdir
from serving.embedded.options import ServerOptions
from tests.pipeline.production.folders import make_workdir


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workdir:
    """With versions 17 and 18 below runs/, of which none was promoted."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commands, "print_check", lambda version: True)
    monkeypatch.setattr(commands, "_require_no_break", lambda *arguments: None)
    return make_workdir(tmp_path / "runs" / "photos", 17, 18)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[ServerOptions]:
    """What servers were started with, which end at once."""
    found: list[ServerOptions] = []

    class Server:
        def __init__(self, options: ServerOptions, announce: Any) -> None:
            found.append(options)

        def run(self) -> None:
            pass

    monkeypatch.setattr("serving.embedded.server.EmbeddedServer", Server)
    return found


def test_the_file_of_the_newest_run_is_followed_though_it_is_not_there_yet(
    workdir: Workdir, served: list[ServerOptions]
) -> None:
    file = workdir.serving.parent / "models.config"
    assert main(["serve"]) == Exit.DONE
    assert main(["promote", "17", "--workdir", str(workdir.root)]) == Exit.DONE
    assert main(["serve"]) == Exit.DONE
    for options, labels in zip(served, ({}, {"stable": 17}), strict=True):
        assert [each.labels for each in options.models] == [labels]
        assert options.model_config_file is not None
        assert options.model_config_file.absolute() == file
        assert options.model_config_file_poll_wait_seconds == 1
        assert options.model_config_file_awaited == (not labels)
        assert options.canary_share == 0


def test_the_first_promotion_says_that_other_servers_must_be_started_again(
    workdir: Workdir, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--workdir", str(workdir.root), "--wait", "0"]
    assert main(["promote", "17", *where]) == Exit.DONE
    assert "--model_config_file_poll_wait_seconds 1" in capsys.readouterr().out
    assert main(["promote", "18", *where]) == Exit.DONE
    assert "--model_config_file" not in capsys.readouterr().out


def test_a_base_path_is_served_as_by_tf_serving_and_what_is_not_followed_is_named(
    workdir: Workdir, served: list[ServerOptions], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("pipeline.commands.serve.complain", said.append)
    serve = ["serve", f"--model_base_path={workdir.serving}"]
    assert main(serve) == Exit.DONE
    assert said == []
    main(["promote", "17", "--workdir", str(workdir.root)])
    assert main(serve) == Exit.DONE
    (line,) = said
    assert f"{workdir.serving.parent / 'models.config'} is not followed" in line
    assert [options.model_config_file for options in served] == [None, None]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model_name=cats"], "--model_name cats is for the model in --model_base_path"),
        (
            ["--model_name=cats", "--model_config_file=models.config"],
            "--model_name cats is for the model in --model_base_path",
        ),
        (
            ["--canary_share=0.1", "--model_base_path=runs/photos/serving/dog_emotion"],
            "--canary_share 0.1 goes by the labels in a file",
        ),
    ],
)
def test_options_that_would_do_nothing_are_refused(
    workdir: Workdir,
    served: list[ServerOptions],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    words: str,
) -> None:
    said: list[str] = []
    monkeypatch.setattr("pipeline.cli.complain", lambda message: said.append(str(message)))
    assert main(["serve", *options]) == Exit.USAGE
    (line,) = said
    assert words in line
    assert not served
