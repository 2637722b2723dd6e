"""What the tasks of a compiled pipeline have on a cluster: volumes, secrets, and which nodes do.

The names are those of Kubernetes; `executor_config` puts them into the words of Kubeflow Pipelines,
the fields of KubernetesExecutorConfig in kubeflow/pipelines,
kubernetes_platform/proto/kubernetes_executor_config.proto, in the forms that every version from 2.0
on takes.
"""

import posixpath
import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from components.settings import Section
from pipeline.cluster.kubeflow_task import FOLDERS

_LAUNCHER_FOLDERS = (
    *(f"/{folder.removesuffix('/')}" for folder in FOLDERS.values()),
    "/kfp-launcher",
    "/tmp/kfp",
    "/tmp/kfp_outputs",
)


def _require_name(name: str) -> str:
    # Kubeflow names the volume after it, and so it must be a label, not just an object's name.
    if not re.fullmatch("[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name):
        raise ValueError(
            "must be 1 to 63 lower-case letters, digits and '-', the first and last of them no '-'"
        )
    return name


def _require_folder(folder: str) -> str:
    # POSIX leaves two slashes at the beginning to the system, and normpath as they are.
    if not re.match("/[^/]", folder) or posixpath.normpath(folder) != folder:
        raise ValueError("must be an absolute path such as /records, written without .. and //")
    mount = PurePosixPath(folder)
    for taken in map(PurePosixPath, _LAUNCHER_FOLDERS):
        if mount.is_relative_to(taken) or taken.is_relative_to(mount):
            raise ValueError(f"must be elsewhere: {taken} is used by Kubeflow Pipelines itself")
    return folder


def _require_label(key: str) -> str:
    if not re.fullmatch("([-a-z0-9.]{1,253}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", key):
        raise ValueError("must be a label's key such as disk or cloud.google.com/gke-nodepool")
    return key


def _require_label_value(value: str) -> str:
    if not re.fullmatch("([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?", value):
        raise ValueError("must be a label's value: at most 63 letters, digits, '-', '_' and '.'")
    return value


def _require_variable(name: str) -> str:
    if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]{0,254}", name):
        raise ValueError("must be the name of an environment variable such as API_KEY")
    return name


Name = Annotated[str, AfterValidator(_require_name)]
Folder = Annotated[str, AfterValidator(_require_folder)]
Label = Annotated[str, AfterValidator(_require_label)]
LabelValue = Annotated[str, AfterValidator(_require_label_value)]
Variable = Annotated[str, AfterValidator(_require_variable)]
SecretKey = Annotated[str, Field(min_length=1, max_length=253)]


class Volume(Section):
    """A PersistentVolumeClaim of the namespace that the pipeline runs in."""

    claim: Name
    mount: Folder


class Secret(Section):
    """A Secret of that namespace: its keys as files in a folder, as variables, or both."""

    name: Name
    mount: Folder | None = None
    env: dict[Variable, SecretKey] = Field(default_factory=dict, max_length=100)
    """The key of the secret for each environment variable."""

    @model_validator(mode="after")
    def _is_used(self) -> Self:
        if self.mount is None and not self.env:
            raise ValueError("a secret needs mount, env or both")
        return self


class Toleration(Section):
    """Lets tasks run on nodes with a taint, as `kubectl explain pod.spec.tolerations` has it."""

    key: Label
    operator: Literal["Equal", "Exists"] = "Equal"
    value: LabelValue = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Any, if there is none."""

    @model_validator(mode="after")
    def _value_is_compared(self) -> Self:
        if self.operator == "Exists" and self.value:
            raise ValueError("operator Exists takes no value: leave it out, or take Equal")
        return self


class KubernetesSettings(Section):
    """What every task has on Kubeflow Pipelines."""

    volumes: Annotated[tuple[Volume, ...], Field(max_length=20)] = ()
    secrets: Annotated[tuple[Secret, ...], Field(max_length=20)] = ()
    node_selector: dict[Label, LabelValue] = Field(default_factory=dict, max_length=20)
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=20)] = ()

    @model_validator(mode="after")
    def _all_fit_into_one_pod(self) -> Self:
        mounted = [(volume.claim, volume.mount) for volume in self.volumes]
        mounted += [(secret.name, secret.mount) for secret in self.secrets if secret.mount]
        names, mounts = zip(*mounted, strict=True) if mounted else ((), ())
        for what, found in (("name", names), ("mount", mounts)):
            if twice := sorted({each for each in found if found.count(each) > 1}):
                raise ValueError(f"two volumes or secrets have the {what} {twice[0]}")
        return self

    @property
    def mounts(self) -> list[str]:
        """The folders where volumes are mounted."""
        return [volume.mount for volume in self.volumes]


def executor_config(
    settings: KubernetesSettings, *, timeout_minutes: int | None = None
) -> dict[str, Any]:
    """A KubernetesExecutorConfig as JSON values.

    Args:
        settings: what all tasks have.
        timeout_minutes: how long this task's pod may take.

    Returns:
        Only what is asked for; empty if that is nothing.
    """
    found = {
        "pvcMount": [
            {"constant": volume.claim, "mountPath": volume.mount} for volume in settings.volumes
        ],
        "secretAsVolume": [
            {"secretName": secret.name, "mountPath": secret.mount}
            for secret in settings.secrets
            if secret.mount
        ],
        "secretAsEnv": [
            {
                "secretName": secret.name,
                "keyToEnv": [
                    {"secretKey": key, "envVar": variable}
                    for variable, key in sorted(secret.env.items())
                ],
            }
            for secret in settings.secrets
            if secret.env
        ],
        "nodeSelector": {"labels": settings.node_selector} if settings.node_selector else None,
        "tolerations": [
            toleration.model_dump(exclude_none=True) for toleration in settings.tolerations
        ],
        "activeDeadlineSeconds": timeout_minutes and 60 * timeout_minutes,
    }
    return {key: value for key, value in found.items() if value}
