"""The Tuner node: what TFX's Tuner asks for, a search on the activations of ActivationCache."""

import tempfile
from pathlib import Path

from tfx.components.trainer.fn_args_utils import FnArgs
from tfx.components.tuner.component import TunerFnResult

from components.staging import is_remote
from components.training.tuning import Search, SettingsTuner


def tuner_fn(fn_args: FnArgs) -> TunerFnResult:
    """Prepares a search (the user function of TFX's Tuner).

    The examples are ActivationCache's. `custom_config` holds `classes`, `model` and `training`
    (ModelSettings and TrainingSettings as JSON, `auto` resolved).

    Raises:
        ComponentError: the cache is incomplete, or does not fit.
    """
    config = fn_args.custom_config
    (train_files,) = fn_args.train_files
    # TFX clears its own folder away; a remote one is no place for a hundred small files.
    place = None if is_remote(fn_args.working_dir) else fn_args.working_dir
    search = Search(
        settings={key: config[key] for key in ("model", "training")},
        classes=config["classes"],
        activations=train_files.rsplit("/", 2)[0],
        folder=Path(tempfile.mkdtemp(dir=place)),
    )
    return TunerFnResult(tuner=SettingsTuner(search), fit_kwargs={})
