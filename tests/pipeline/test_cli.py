import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from data.contract.errors import Exit
from data.drawn_dogs import draw_dataset
from pipeline.cli import main
from pipeline.commands import data
from pipeline.workdir import Workdir

ROOT = Path(__file__).parents[2]
HEAVY = (
    "apache_beam",
    "cv2",
    "keras",
    "kfp",
    "matplotlib",
    "numpy",
    "pydantic",
    "tensorflow",
    "tfx",
)


def usage_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The last line that argparse says on wrong usage."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == Exit.USAGE
    return capsys.readouterr().err.splitlines()[-1]


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error, without the program's name."""
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("dog-emotion: ")
    return line.removeprefix("dog-emotion: ")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder that is not the project's."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_exit_statuses_are_those_that_scripts_rely_on() -> None:
    assert {status.name: status.value for status in Exit} == {
        "DONE": 0,
        "FAILED": 1,
        "USAGE": 2,
        "BLOCKED": 3,
        "INTERRUPTED": 130,
    }


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["run"],
        ["data"],
        ["audit"],
        ["history"],
        ["predict"],
        ["serve"],
        ["check"],
        ["why"],
        ["compile"],
        ["submit"],
        ["run-spec"],
    ],
)
def test_help_imports_nothing_that_takes_time(command: list[str], tmp_path: Path) -> None:
    program = (
        "import sys; from pipeline.cli import main\n"
        "try: main()\n"
        "except SystemExit as error: status = error.code\n"
        f"print('imported:', *[name for name in {HEAVY} if name in sys.modules])\n"
        "sys.exit(status)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program, *command, "--help"],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
    )
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("usage: dog-emotion")
    assert "3 the gate blocked" in shown.stdout or command == ["predict"]
    assert shown.stdout.splitlines()[-1] == "imported:"
    assert shown.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["train"], "invalid choice: 'train'"),
        (["run", "--quick"], "unrecognized arguments: --quick"),
        (["run", "photos"], "unrecognized arguments: photos"),
        (["run", "--set"], "argument --set: expected one argument"),
        (["data", "photos", "--out=x", "--span=0"], "argument --span: 0 should be from 1"),
        (["audit"], "the following arguments are required: PHOTOS"),
        (["predict"], "the following arguments are required: PHOTO"),
        (["compile", "--target", "airflow"], "invalid choice: 'airflow'"),
        (["compile"], "arguments are required: --target, --image, --root, --data, --out"),
        (["submit", "s.json"], "the following arguments are required: --target"),
        (["run-spec", "s.json"], "the following arguments are required: --root, --data"),
    ],
)
def test_wrong_usage_is_2_and_says_what_is_wrong(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in usage_error(arguments, capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "colour=red"], "colour: no such key"),
        (["--set", "training.batch_size"], "expected key=value"),
        (["--set", "training.batch_size=0"], "training.batch_size = 0: should be greater"),
        (["--profile", "cats"], "--profile cats: choose from corrections, dataflow, demo, flink"),
        (["--profile", "photos"], "--profile photos needs --photos DIR"),
        (["--tune", "--profile", "tiny", "--profile", "corrections"], "tune and warm_start cannot"),
        (["--photos", "none"], "--photos none: there is no such folder"),
        (["--config", "none.toml"], "--config none.toml: No such file"),
    ],
)
def test_a_wrong_configuration_is_2_in_one_line_and_makes_no_folder(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    elsewhere: Path,
) -> None:
    assert main(["run", "--workdir", "w", *arguments]) == Exit.USAGE
    assert message in said(capsys)
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--photos=."],
        ["run", "--photos=.", "--workdir=happy/run"],
        ["run", "--photos=../photos", "--workdir=."],
        ["data", ".", "--out=./records"],
    ],
)
def test_a_folder_inside_the_photos_is_2_and_not_made(
    arguments: list[str],
    capsys: pytest.CaptureFixture[str],
    elsewhere: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next run would take it for a class."""
    (elsewhere / "photos" / "happy").mkdir(parents=True)
    monkeypatch.chdir(elsewhere / "photos")
    assert main(arguments) == Exit.USAGE
    assert "name a folder apart from the photos" in said(capsys)
    assert [path.name for path in (elsewhere / "photos").rglob("*")] == ["happy"]


UNUSABLE = [
    ("a[1]", "'[' ']'"),
    ("{SPAN}", "'{' '}'"),
    ("what?", "'?'"),
    ("all*", "'*'"),
    ("a\\b", r"'\\'"),
    ("a$b", "'$'"),
    ("^a", "'^'"),
    ("a|b", "'|'"),
    ("a\nb", r"'\n'"),
    ("caf\udce9", r"'\udce9'"),
]


@pytest.mark.parametrize(("name", "characters"), UNUSABLE)
def test_a_path_that_the_libraries_misread_is_2_and_not_made(
    name: str, characters: str, capsys: pytest.CaptureFixture[str], elsewhere: Path
) -> None:
    (elsewhere / "photos").mkdir()
    for option, arguments in (
        ("--workdir", ["run", f"--workdir={name}/runs"]),
        ("--out", ["data", "photos", f"--out={name}"]),
    ):
        assert main(arguments) == Exit.USAGE
        line = said(capsys)
        assert line.startswith(f"{option} '")
        assert f"a path with {characters} in it cannot be used" in line
    assert [path.name for path in elsewhere.iterdir()] == ["photos"]


def test_a_workdir_in_a_folder_with_such_a_name_is_refused_too(
    capsys: pytest.CaptureFixture[str], elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (elsewhere / "dogs [1]").mkdir()
    monkeypatch.chdir(elsewhere / "dogs [1]")
    assert main(["run"]) == Exit.USAGE
    assert f"--workdir '{elsewhere}/dogs [1]/runs/demo': a path with '[' ']'" in said(capsys)


@pytest.mark.parametrize("arguments", [["run", "--photos"], ["data", "--out=out"]])
def test_photos_of_too_long_a_name_are_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str], elsewhere: Path
) -> None:
    assert main([*arguments, "x" * 300]) == Exit.USAGE
    assert said(capsys).endswith("x: File name too long")
    assert not list(elsewhere.iterdir())


def test_a_workdir_too_long_for_its_database_is_2(
    capsys: pytest.CaptureFixture[str], elsewhere: Path
) -> None:
    folders = ["x" * 200, "y" * 200, "z" * 100]
    assert main(["run", "--workdir", "/".join(folders)]) == Exit.USAGE
    assert "SQLite cannot open a path that long; name one at least" in said(capsys)
    assert not list(elsewhere.iterdir())


def test_a_workdir_that_cannot_be_written_is_1_and_named(
    capsys: pytest.CaptureFixture[str], elsewhere: Path
) -> None:
    (elsewhere / "file").write_text("")
    assert main(["run", "--workdir", "file/w"]) == Exit.FAILED
    assert f"cannot write in {elsewhere / 'file' / 'w'}" in said(capsys)


def test_a_workdir_in_use_is_1_and_left_alone(
    capsys: pytest.CaptureFixture[str], elsewhere: Path
) -> None:
    workdir = Workdir(elsewhere / "w")
    with workdir.locked():
        assert main(["run", "--workdir", "w"]) == Exit.FAILED
        assert "another run is using" in said(capsys)
    assert [path.name for path in workdir.root.iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("arguments", "folder"),
    [([], "demo"), (["--profile", "tiny"], "tiny"), (["--photos", "dogs"], "photos")],
)
def test_each_profile_has_a_folder_of_its_own_under_runs(
    arguments: list[str],
    folder: str,
    capsys: pytest.CaptureFixture[str],
    elsewhere: Path,
) -> None:
    (elsewhere / "dogs").mkdir()
    with Workdir(elsewhere / "runs" / folder).locked():
        assert main(["run", *arguments]) == Exit.FAILED
    assert f"another run is using {elsewhere / 'runs' / folder}" in said(capsys)


def test_an_interruption_is_130_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(data, "_data", interrupt)
    assert main(["data", "photos", "--out", "out"]) == Exit.INTERRUPTED
    assert "interrupted" in said(capsys)


def test_a_reader_that_has_gone_gives_no_traceback(elsewhere: Path) -> None:
    program = (
        "import sys, time; sys.path.insert(0, sys.argv.pop(1)); from pipeline.cli import main\n"
        "sys.stdin.read(); sys.exit(main())"
    )
    command = [sys.executable, "-c", program, str(ROOT), "predict", "none.jpg"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == b""
        assert process.wait() == Exit.FAILED


def test_data_writes_records_and_leaves_them_when_nothing_changed(
    capsys: pytest.CaptureFixture[str], elsewhere: Path
) -> None:
    draw_dataset(elsewhere / "photos", per_class=40, seed=0)
    (elsewhere / "photos" / "sad" / "notes.txt").write_text("no photo")
    command = ["data", "photos", "--out", "out"]
    assert main(command) == Exit.DONE
    *_, records, alike = capsys.readouterr().out.splitlines()
    assert "1 rejected" in records
    assert records.endswith("out/span-1")
    assert "of 256 bits differ" in alike
    span = elsewhere / "out" / "span-1"
    before = {path: path.stat().st_mtime_ns for path in span.rglob("*")}
    assert main(command) == Exit.DONE
    assert "unchanged" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in span.rglob("*")}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--out", "x"], "name the PHOTOS and, with --out, where their records go"),
        (["photos"], "name the PHOTOS and, with --out, where their records go"),
        (["photos", "--prove", "x"], "--prove looks at records: PHOTOS, --out and --span do not"),
        (["--prove", "x", "--span", "2"], "--prove looks at records: PHOTOS, --out and --span do"),
    ],
)
def test_data_takes_photos_or_proves_records(
    capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    assert main(["data", *arguments]) == Exit.USAGE
    assert complaint in said(capsys)


def test_records_that_are_not_there_cannot_be_proved(
    capsys: pytest.CaptureFixture[str], elsewhere: Path
) -> None:
    assert main(["data", "--prove", "none"]) == Exit.FAILED
    assert "no records at none" in said(capsys)


def test_data_without_a_folder_is_2(capsys: pytest.CaptureFixture[str], elsewhere: Path) -> None:
    assert main(["data", "none", "--out", "out"]) == Exit.USAGE
    assert said(capsys) == "none: there is no such folder"
    assert not (elsewhere / "out").exists()


def test_data_that_cannot_be_used_is_1(capsys: pytest.CaptureFixture[str], elsewhere: Path) -> None:
    (elsewhere / "photos").mkdir()
    assert main(["data", "photos", "--out", "out"]) == Exit.FAILED
    assert "no photos in photos" in said(capsys)


def photo(folder: Path) -> str:
    draw_dataset(folder / "photos", per_class=1, seed=0)
    return str(next((folder / "photos" / "sad").iterdir()))


def test_predict_without_any_model_says_how_to_make_one(
    capsys: pytest.CaptureFixture[str], elsewhere: Path
) -> None:
    assert main(["predict", photo(elsewhere)]) == Exit.FAILED
    line = said(capsys)
    assert "no model was pushed below runs" in line
    assert "dog-emotion run" in line


def test_predict_with_a_folder_that_is_not_a_model_names_it(
    capsys: pytest.CaptureFixture[str], elsewhere: Path
) -> None:
    assert main(["predict", photo(elsewhere), "--model", "photos"]) == Exit.FAILED
    assert said(capsys).startswith("photos holds no complete model")


def test_predict_answers_for_a_photo_that_is_missing_or_none(
    capsys: pytest.CaptureFixture[str], elsewhere: Path
) -> None:
    (elsewhere / "notes.txt").write_text("no photo")
    assert main(["predict", "none.jpg", "notes.txt"]) == Exit.FAILED
    shown = capsys.readouterr()
    assert "none.jpg: no prediction: no such file" in shown.out
    assert "notes.txt: no prediction: not a JPEG" in shown.out
    assert shown.err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--plot", "figure.doc", "a.jpg"], "figure.doc"),
        (["--plot", "figure.png", *(f"{n}.jpg" for n in range(1_000))], "--plot draws at most"),
    ],
)
def test_a_figure_that_cannot_be_drawn_is_2_before_any_work(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], elsewhere: Path
) -> None:
    assert main(["predict", *arguments]) == Exit.USAGE
    assert message in said(capsys)
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        ["compile", "--target=vertex", "--image=i", "--root=gs://b/r", "--data=gs://b/d",
         "--out=spec.json"],
        ["submit", "spec.json", "--target=vertex"],
        ["run-spec", "spec.json", "--root=root", "--data=data"],
    ],
)  # fmt: skip
def test_without_kfp_it_says_why_it_cannot(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "kfp" else find_spec(name)
    )
    assert main(arguments) == Exit.FAILED
    assert said(capsys) == "the package kfp is not installed: TFX brings it only with Python 3.11"
