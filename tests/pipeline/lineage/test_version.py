import json
from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd

from components.evaluation.figures import Evaluation
from components.report.description import DESCRIPTION
from data import spans
from data.contract.errors import Exit
from data.contract.nodes import ACTIVATION_CACHE, EVALUATOR, REPORT, TRAINER
from data.contract.servable import NEEDED_FILES
from pipeline.cli import main
from pipeline.outputs import PIPELINE_RUN, open_store
from pipeline.workdir import Workdir
from tests.components.report.conftest import write_evaluation
from tests.pipeline.lineage.stores import KINDS, Recorder

CLASSES = ("happy", "sad")
COUNTS = {"train": {"happy": 1200, "sad": 1}, "val": {"happy": 2}, "test": {"sad": 3}}


class Made:
    """Two runs that each pushed a version, 17 and 18, the second compared with the first."""

    def __init__(self, root: Path) -> None:
        self.workdir = Workdir(root)
        root.mkdir()
        self._recorder = Recorder(open_store(self.workdir.metadata))
        self.model: mlmd.Artifact | None = None
        self.evaluations: list[Evaluation] = []
        for number in (1, 2):
            self._run(number, last=number > 1)

    def span(self, number: int) -> Path:
        return self.workdir.data / f"span-{number}"

    def _run(self, number: int, *, last: bool) -> None:
        recorder = self._recorder
        self.span(number).mkdir(parents=True)
        manifest = dict.fromkeys(spans.KEYS, 0) | {"counts": COUNTS, "number": number}
        spans.write_manifest(self.span(number), manifest)
        run = recorder.begin(
            f"run-{number}",
            span=number,
            manifest_sha256=spans.hash_file(self.span(number) / spans.MANIFEST),
            relabelled=1234 * (number - 1),
            relabels_sha256="5e1f" if last else "",
        )
        members = json.dumps([{"backbone": "tiny", "code": f"a{each}"} for each in range(2)])
        recorder.run(run, ACTIVATION_CACHE, recorder.artifact("Examples"), members=members)
        before = self.model
        self.model = recorder.artifact(
            "Model", backbone="tiny", weights_source="file.pth", weights_sha256="abc"
        )
        recorder.run(run, TRAINER, self.model, custom_config=json.dumps({"code": "c0de"}))
        folder = self.workdir.pipeline_root / f"evaluation-{number}"
        self.evaluations.append(write_evaluation(folder, CLASSES, photos=50, last=last))
        outputs = [recorder.artifact(kind, str(folder)) for kind in KINDS[EVALUATOR].values()]
        if before is not None:
            outputs[1].custom_properties["baseline_model_id"].int_value = before.id
        recorder.run(run, EVALUATOR, *outputs, code=f"e{number}")
        version = self.workdir.serving / str(16 + number)
        for name in NEEDED_FILES:
            (version / name).parent.mkdir(parents=True, exist_ok=True)
            (version / name).touch()
        recorder.push(run, version, self.model)
        settings = {"training": {"seed": number}, "classes": CLASSES}
        report = self.workdir.pipeline_root / f"report-{number}"
        report.mkdir()
        described = {"settings": settings, "versions": {"tfx": "1.2.3"}}
        (report / DESCRIPTION).write_text(json.dumps(described))
        recorder.run(run, REPORT, recorder.artifact("ModelRun", str(report)))


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path / "run")


def why(made: Made, *arguments: str) -> int:
    return main(["why", *arguments, "--workdir", str(made.workdir.root)])


def test_a_version_is_followed_back_to_all_that_it_was_made_of(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    assert why(made, "18", "--json") == Exit.DONE
    said = json.loads(capsys.readouterr().out)
    assert (said["version"], said["run"], said["served_now"], said["kept"]) == (
        *("18", "run-2"),
        *(True, True),
    )
    assert said["span"] == {
        "number": 2,
        "manifest_sha256": spans.hash_file(made.span(2) / spans.MANIFEST),
        "now": "unchanged",
        "photos": {"train": 1201, "val": 2, "test": 3},
        "relabelled": 1234,
        "relabels_sha256": "5e1f",
    }
    assert said["weights"] == {"backbone": "tiny", "source": "file.pth", "sha256": "abc"}
    assert said["settings"] == {"training": {"seed": 2}, "classes": ["happy", "sad"]}
    assert said["libraries"] == {"tfx": "1.2.3"}
    assert said["code"] == {"ActivationCache": "a0 a1", "Trainer": "c0de", "Evaluator": "e2"}
    assert said["baseline"] == "17"
    assert said["figures"]["accuracy"] == made.evaluations[1].accuracy
    assert [each["name"] for each in said["gate"]["conditions"]] == [
        each.name for each in made.evaluations[1].conditions
    ]


def test_the_text_says_the_same(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    assert why(made, "18") == Exit.DONE
    said = capsys.readouterr().out
    for part in (
        "version   18, served now",
        "photos    1,201 train, 2 val, 3 test",
        "relabels  1,234 photos, by the table 5e1f",
        "weights   tiny from file.pth abc",
        "baseline  version 17, accuracy",
        "  training.seed                           2",
        "  tfx                                     1.2.3",
        "  Trainer               c0de",
    ):
        assert part in said


def test_the_first_version_has_no_baseline_and_is_served_no_more(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    assert why(made, "17", "--json") == Exit.DONE
    said = json.loads(capsys.readouterr().out)
    assert (said["baseline"], said["served_now"]) == (None, False)
    assert why(made, "17") == Exit.DONE
    text = capsys.readouterr().out
    assert "baseline  none: " in text
    assert "relabels  none" in text


def test_photos_that_are_no_longer_those_of_the_run_are_not_passed_off_as_such(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = made.span(2) / spans.MANIFEST
    manifest.write_text(manifest.read_text() + " ")
    assert why(made, "18", "--json") == Exit.DONE
    span = json.loads(capsys.readouterr().out)["span"]
    assert (span["now"], span["photos"]) == ("changed", None)
    manifest.unlink()
    assert why(made, "18") == Exit.DONE
    assert "(gone)" in capsys.readouterr().out


def test_of_a_run_from_before_spans_were_recorded_no_span_is_made_up(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    store = open_store(made.workdir.metadata)
    (run,) = (each for each in store.get_contexts_by_type(PIPELINE_RUN) if each.name == "run-2")
    run.custom_properties.clear()
    store.put_contexts([run])
    assert why(made, "18", "--json") == Exit.DONE
    assert json.loads(capsys.readouterr().out)["span"] is None
    assert why(made, "18") == Exit.DONE
    text = capsys.readouterr().out
    assert "span      not recorded\n" in text
    assert "relabels  not recorded\n" in text


@pytest.mark.parametrize(
    ("version", "message"),
    [("19", "version 19: no run in "), ("happy", "'happy' is no file and no version")],
)
def test_what_no_run_has_pushed_is_refused_in_one_line(
    made: Made, capsys: pytest.CaptureFixture[str], version: str, message: str
) -> None:
    assert why(made, version) != Exit.DONE
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"dog-emotion: {message}")
