from typing import Any

import pytest

from pipeline.cluster.places import is_mounted
from pipeline.config import ConfigError, load_config
from pipeline.kubernetes import executor_config


def executor(*overrides: str, timeout_minutes: int | None = None) -> dict[str, Any]:
    """What Kubernetes is asked for, with settings as a user gives them."""
    config = load_config(overrides=overrides)
    return executor_config(config.kubernetes, timeout_minutes=timeout_minutes)


def error_of(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(overrides=overrides)
    (line,) = str(caught.value).splitlines()
    return line


def test_without_settings_nothing_is_asked_for() -> None:
    assert executor() == {}


def test_a_claim_is_mounted() -> None:
    assert executor('kubernetes.volumes=[{claim="photos", mount="/records"}]') == {
        "pvcMount": [{"constant": "photos", "mountPath": "/records"}]
    }


def test_a_secret_is_files_or_variables_or_both() -> None:
    both = '{name="key", mount="/keys", env={API_KEY="api", TOKEN="token"}}'
    assert executor(f'kubernetes.secrets=[{{name="cert", mount="/certs"}}, {both}]') == {
        "secretAsVolume": [
            {"secretName": "cert", "mountPath": "/certs"},
            {"secretName": "key", "mountPath": "/keys"},
        ],
        "secretAsEnv": [
            {
                "secretName": "key",
                "keyToEnv": [
                    {"secretKey": "api", "envVar": "API_KEY"},
                    {"secretKey": "token", "envVar": "TOKEN"},
                ],
            }
        ],
    }


def test_nodes_are_chosen_by_labels_and_taints_tolerated() -> None:
    found = executor(
        'kubernetes.node_selector={"cloud.google.com/gke-nodepool"="cpu"}',
        "kubernetes.node_selector.disk=ssd",
        'kubernetes.tolerations=[{key="spot", value="true", effect="NoSchedule"}, '
        '{key="gpu", operator="Exists"}]',
    )
    assert found == {
        "nodeSelector": {"labels": {"cloud.google.com/gke-nodepool": "cpu", "disk": "ssd"}},
        "tolerations": [
            {"key": "spot", "operator": "Equal", "value": "true", "effect": "NoSchedule"},
            {"key": "gpu", "operator": "Exists", "value": ""},
        ],
    }


def test_a_time_out_is_in_seconds() -> None:
    assert executor(timeout_minutes=90) == {"activeDeadlineSeconds": 5400}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            'kubernetes.volumes=[{claim="Photos", mount="/a"}]',
            'kubernetes.volumes.0.claim = "Photos": must be 1 to 63 lower-case letters',
        ),
        (
            'kubernetes.volumes=[{claim="a.b", mount="/a"}]',
            'kubernetes.volumes.0.claim = "a.b": must be 1 to 63 lower-case letters',
        ),
        (
            'kubernetes.volumes=[{claim="a", mount="records"}]',
            'kubernetes.volumes.0.mount = "records": must be an absolute path such as /records',
        ),
        (
            'kubernetes.volumes=[{claim="a", mount="/"}]',
            'kubernetes.volumes.0.mount = "/": must be an absolute path',
        ),
        (
            'kubernetes.volumes=[{claim="a", mount="/a/../b"}]',
            'kubernetes.volumes.0.mount = "/a/../b": must be an absolute path',
        ),
        (
            'kubernetes.volumes=[{claim="a", mount="/gcs/b"}]',
            'kubernetes.volumes.0.mount = "/gcs/b": must be elsewhere: /gcs is used by Kubeflow',
        ),
        (
            'kubernetes.volumes=[{claim="a", mount="/tmp"}]',
            'kubernetes.volumes.0.mount = "/tmp": must be elsewhere: /tmp/kfp is used by Kubeflow',
        ),
        *(
            (
                f'kubernetes.volumes=[{{claim="a", mount="{mount}"}}]',
                f'kubernetes.volumes.0.mount = "{mount}": must be an absolute path',
            )
            for mount in ("//", "//gcs", "//records")
        ),
        (
            'kubernetes.volumes=[{claim="a", mount="/m"}, {claim="b", mount="/m"}]',
            "two volumes or secrets have the mount /m",
        ),
        (
            'kubernetes={volumes=[{claim="a", mount="/m"}], secrets=[{name="a", mount="/n"}]}',
            "two volumes or secrets have the name a",
        ),
        (
            'kubernetes.volumes=[{name="a", mount="/m"}]',
            "kubernetes.volumes.0.claim = ",
        ),
        (
            'kubernetes.volumes=[{claim="a", mount="/m", size=3}]',
            "kubernetes.volumes.0.size: no such key; allowed here: claim, mount",
        ),
        ("kubernetes.volumes=photos", 'kubernetes.volumes = "photos": '),
        (
            'kubernetes.secrets=[{name="a"}]',
            'kubernetes.secrets.0 = {"name": "a"}: a secret needs mount, env or both',
        ),
        ('kubernetes.secrets=[{name="a", env={"A-B"="c"}}]', "must be the name of an environment"),
        ('kubernetes.node_selector={"a b"="c"}', "must be a label's key such as disk"),
        ("kubernetes.node_selector.disk=a b", "must be a label's value"),
        (
            'kubernetes.tolerations=[{key="a", operator="Exists", value="b"}]',
            "operator Exists takes no value",
        ),
        (
            'kubernetes.tolerations=[{key="a", effect="Never"}]',
            'kubernetes.tolerations.0.effect = "Never": should be',
        ),
        ("kubernetes.claims=1", "kubernetes.claims: no such key; allowed here: volumes, secrets"),
    ],
)
def test_what_kubernetes_would_refuse_is_refused_here(override: str, message: str) -> None:
    assert message in error_of(override)


@pytest.mark.parametrize(
    ("path", "mounted"),
    [
        ("/records", True),
        ("/records/span-1", True),
        ("/records/../etc", False),
        ("/records-2", False),
        ("records", False),
        ("gs://records", False),
    ],
)
def test_a_path_is_mounted_where_it_lies_in_a_volume(path: str, mounted: bool) -> None:
    volume = 'kubernetes.volumes=[{claim="photos", mount="/records"}]'
    mounts = load_config(overrides=[volume]).kubernetes.mounts
    assert is_mounted(path, mounts) == mounted
