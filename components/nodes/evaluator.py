"""The Evaluator node: asks the models, has TFMA measure what they say, and judges the new one."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tfx import types
from tfx.components.evaluator import constants, executor
from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.utils import io_utils, path_utils

from components.errors import ComponentError
from components.evaluation.analysis import BEST, CANDIDATE, LAST, Analysis, analyze
from components.evaluation.chance import wilson_interval
from components.evaluation.earlier import EarlierEvaluations
from components.evaluation.figures import (
    EVALUATION,
    VERDICT,
    Comparison,
    Evaluation,
    Figures,
)
from components.evaluation.gate import judge
from components.evaluation.metrics import ACCURACY as TFMA_ACCURACY
from components.evaluation.metrics import CALIBRATION_ERROR, LOSS
from components.evaluation.predictions import ask, read_answers
from components.evaluation.settings import GateSettings
from components.evaluation.table import Answer, Answers, Photo, write_predictions
from components.reliability import bins_of
from components.saved_model import fingerprint
from components.staging import readable
from data.contract import verdict
from data.contract.beam import step_errors_raised
from data.contract.features import TEST
from data.contract.model import ACCURACY
from data.contract.servable import LATENCY_MS, SIZE_MB, Cost

NO_BASELINE = "nothing-was-pushed"
"""The file in an empty Model, so that a Model whose files are gone is not mistaken for one."""
OTHERS = "others"
"""A property of a Model that is a copy of the best version: of how many it is the best."""

MODELS = {LAST: "baseline_model", BEST: "best_models"}
"""The inputs that hold the models to compare with."""
PUSHES = "best_pushes"
"""The input that holds a PushedModel for each Model that BEST is the best of, also for those that
were removed since."""
NONE = {
    LAST: "this pipeline has pushed none",
    BEST: "no other version was pushed before",
}
_NOT_KNOWN = "this platform does not know it"


class EvaluatorSpec(ComponentSpec):
    """What goes into the node and comes out of it."""

    INPUTS = {  # noqa: RUF012 (TFX's form)
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "model": ChannelParameter(type=standard_artifacts.Model),
        "servable": ChannelParameter(type=standard_artifacts.InfraBlessing),
        MODELS[LAST]: ChannelParameter(type=standard_artifacts.Model, optional=True),
        MODELS[BEST]: ChannelParameter(type=standard_artifacts.Model, optional=True),
        PUSHES: ChannelParameter(type=standard_artifacts.PushedModel, optional=True),
    }
    OUTPUTS = {  # noqa: RUF012
        "evaluation": ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "blessing": ChannelParameter(type=standard_artifacts.ModelBlessing),
    }
    PARAMETERS = {  # noqa: RUF012
        "classes": ExecutionParameter(type=str),
        "gate": ExecutionParameter(type=str),
        "code": ExecutionParameter(type=str),
    }


class EvaluatorExecutor(executor.Executor):
    """Asks the models, has TFMA measure, judges, and blesses the new model or not.

    It has nothing of TFX's executor but its class: in the blessing of no other does TFX's entry
    point on platforms put the names of models, by which Vertex AI finds them, in place of ids.
    """

    def Do(  # noqa: N802 (TFX's name)
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        (model,), (servable,) = input_dict["model"], input_dict["servable"]
        (output,), (blessing,) = output_dict["evaluation"], output_dict["blessing"]
        classes = json.loads(exec_properties["classes"])
        gate = GateSettings.model_validate_json(exec_properties["gate"])
        others = {
            # Of the best, only the first is asked; how many there are is a part of the test.
            name: input_dict[key] if input_dict[key] and _is_there(input_dict[key][0]) else []
            for name, key in MODELS.items()
            if key in input_dict
        }
        models = {CANDIDATE: model, **{name: found[0] for name, found in others.items() if found}}
        fingerprints = {name: _fingerprint(each) for name, each in models.items()}
        earlier = EarlierEvaluations(output.uri, classes)
        photos, answers = self._ask(
            artifact_utils.get_split_uris(input_dict["examples"], TEST),
            {name: path_utils.serving_model_path(each.uri) for name, each in models.items()},
            {name: earlier.answers(each) for name, each in fingerprints.items()},
            classes,
            f"{output.uri}/unfinished",
        )
        with step_errors_raised(), self._make_beam_pipeline() as pipeline:
            analyze(pipeline, classes, photos, answers, output.uri)
        analysis = Analysis(output.uri, list(answers))
        figures = _figures(
            analysis,
            classes,
            photos,
            answers[CANDIDATE],
            cost=Cost(
                size_mb=servable.get_float_custom_property(SIZE_MB),
                latency_ms=servable.get_float_custom_property(LATENCY_MS),
            ),
            compared={name: analysis.comparison(name) for name in answers if name != CANDIDATE},
            missing={
                name: NONE[name] if key in input_dict else _NOT_KNOWN
                for name, key in MODELS.items()
            },
            others=_count(others.get(BEST, []), input_dict.get(PUSHES, [])),
            test_looks=earlier.looks([photo.image for photo in photos]),
        )
        evaluation = _judged(figures, gate, fingerprints[CANDIDATE])
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            write_predictions(folder, classes, photos, answers)
            written = [*folder.iterdir(), folder / VERDICT]
            written[-1].write_bytes(EVALUATION.dump_json(evaluation, indent=2))
            for file in written:  # the verdict last: where it is, the others are
                fileio.copy(str(file), f"{output.uri}/{file.name}", overwrite=True)
        _describe(output, evaluation)
        _describe(blessing, evaluation)
        _bless(blessing, evaluation, model, others.get(LAST, []))

    def _ask(
        self,
        records: Sequence[str],
        models: Mapping[str, str],
        known: Mapping[str, Answers],
        classes: Sequence[str],
        folder: str,
    ) -> tuple[list[Photo], dict[str, list[Answer]]]:
        """What each model says about each photo in some folders.

        Raises:
            ComponentError: a model has other classes.
        """
        with step_errors_raised(), self._make_beam_pipeline() as pipeline:
            ask(pipeline, [f"{each}/*" for each in records], models, known, folder)
        photos, answers = read_answers(folder, known)
        fileio.rmtree(folder)
        for name, said in answers.items():
            found = {len(each.probabilities) for each in said}
            if found != {len(classes)}:
                raise ComponentError(
                    f"{models[name]} knows {min(found)} classes, but there are {len(classes)}: "
                    "begin in another folder"
                )
        return photos, answers


def _figures(
    analysis: Analysis,
    classes: Sequence[str],
    photos: Sequence[Photo],
    answers: Sequence[Answer],
    *,
    cost: Cost,
    compared: Mapping[str, Comparison],
    missing: Mapping[str, str],
    others: int,
    test_looks: int | None,
) -> Figures:
    overall = analysis.overall(CANDIDATE)
    confusion = analysis.confusion(len(classes))
    rows = [sum(row) for row in confusion]
    probabilities = np.stack([each.probabilities for each in answers])
    labels = np.array([classes.index(photo.label) for photo in photos])
    return Figures(
        photos=len(photos),
        accuracy=overall[TFMA_ACCURACY],
        interval=wilson_interval(overall[TFMA_ACCURACY], len(photos)),
        majority=max(rows) / len(photos),
        loss=overall[LOSS],
        recall={
            name: confusion[number][number] / rows[number]
            for number, name in enumerate(classes)
            if rows[number]
        },
        confusion=confusion,
        calibration_error=overall[CALIBRATION_ERROR],
        bins=bins_of(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels),
        cost=cost,
        last=compared.get(LAST, missing[LAST]),
        best=compared.get(BEST, missing[BEST]),
        others=others,
        test_looks=test_looks,
        slices=analysis.slices(),
    )


def _judged(figures: Figures, gate: GateSettings, model: str) -> Evaluation:
    conditions = judge(figures, gate)
    return Evaluation(
        **vars(figures),
        conditions=conditions,
        blessed=all(condition.passed for condition in conditions),
        model=model,
    )


def _fingerprint(model: types.Artifact) -> str:
    with readable(path_utils.serving_model_path(model.uri)) as folder:
        return fingerprint(folder)


def _count(best: list[types.Artifact], pushes: list[types.Artifact]) -> int:
    """Of how many versions the first one is the best."""
    return max(1, len(pushes), best[0].get_int_custom_property(OTHERS)) if best else 0


def _describe(artifact: types.Artifact, evaluation: Evaluation) -> None:
    """Says on an artifact how the model did, for the pages of a platform."""
    low, high = evaluation.interval
    figures = {
        ACCURACY: evaluation.accuracy,
        verdict.ACCURACY_LOWER: low,
        verdict.ACCURACY_UPPER: high,
        verdict.MAJORITY: evaluation.majority,
        verdict.LOSS: evaluation.loss,
        verdict.CALIBRATION_ERROR: evaluation.calibration_error,
    }
    for name, value in figures.items():
        artifact.set_float_custom_property(name, value)
    failed = [each.name for each in evaluation.conditions if not each.passed]
    said = f"blocked: {'; '.join(failed)}" if failed else verdict.PASSED
    artifact.set_string_custom_property(verdict.VERDICT, said)
    if evaluation.test_looks is not None:
        artifact.set_int_custom_property(verdict.TEST_LOOKS, evaluation.test_looks)


def _bless(
    blessing: types.Artifact,
    evaluation: Evaluation,
    model: types.Artifact,
    baseline: list[types.Artifact],
) -> None:
    """The verdict as TFX's Pusher and its strategies read it, and as TFX's Evaluator writes it."""
    current = constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY
    blessing.set_string_custom_property(current, model.uri)
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, model.id)
    for each in baseline:
        before = constants.ARTIFACT_PROPERTY_BASELINE_MODEL_URI_KEY
        blessing.set_string_custom_property(before, each.uri)
        blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY, each.id)
    name, value = (
        (constants.BLESSED_FILE_NAME, constants.BLESSED_VALUE)
        if evaluation.blessed
        else (constants.NOT_BLESSED_FILE_NAME, constants.NOT_BLESSED_VALUE)
    )
    io_utils.write_string_file(f"{blessing.uri}/{name}", "")
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, value)


def _is_there(model: types.Artifact) -> bool:
    """Whether there is a model in a Model artifact.

    Raises:
        ComponentError: there was, and its files are gone.
    """
    folder = path_utils.serving_model_dir(model.uri)
    if fileio.exists(folder):
        return True
    if fileio.exists(f"{model.uri}/{NO_BASELINE}"):
        return False
    raise ComponentError(
        f"{folder} is gone, a model that was pushed: without it nothing tells whether the new one "
        "is worse; put it back (a copy of the served version will do) or begin in another folder"
    )


class Evaluator(BaseBeamComponent):
    """A model, and those pushed before, on the test photos: figures and the gate's verdict."""

    SPEC_CLASS = EvaluatorSpec
    EXECUTOR_SPEC = BeamExecutorSpec(EvaluatorExecutor)

    def __init__(
        self,
        *,
        examples: types.BaseChannel,
        model: types.BaseChannel,
        servable: types.BaseChannel,
        baseline_model: types.BaseChannel,
        best_models: types.BaseChannel | None,
        best_pushes: types.BaseChannel | None,
        classes: Sequence[str],
        gate: GateSettings,
        code: str,
    ) -> None:
        """Every argument is part of the key under which TFX caches the verdict.

        Args:
            examples: the photos, as ImportExampleGen leaves them.
            model: the one Trainer made.
            servable: what it costs, from ServableGate.
            baseline_model: the one that was pushed last; there may be none.
            best_models: the others that were pushed, the most accurate first; there may be none.
                None where the platform cannot tell.
            best_pushes: a PushedModel for each of these, and for those that were removed since.
                None where the models themselves say of how many the first is the best.
            classes: names in the order of the probabilities.
            gate: what it must reach.
            code: hash of the code that runs inside the node.
        """
        optional = {MODELS[BEST]: best_models, PUSHES: best_pushes}
        known = {key: channel for key, channel in optional.items() if channel is not None}
        super().__init__(
            EvaluatorSpec(
                examples=examples,
                model=model,
                servable=servable,
                baseline_model=baseline_model,
                **known,
                classes=json.dumps(list(classes)),
                gate=gate.model_dump_json(),
                code=code,
                evaluation=types.Channel(type=standard_artifacts.ModelEvaluation),
                blessing=types.Channel(type=standard_artifacts.ModelBlessing),
            )
        )
