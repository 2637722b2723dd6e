"""Hosts for Beam's workers, on this machine: each a network namespace with an address, a root
folder, and in it the image's environment, without the checkout."""

import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.beam_pool import Pool

ROOT = Path(__file__).parents[2]
ENVIRONMENT = "/opt/dog-emotion"
_OF_THE_SYSTEM = ("usr", "etc", "bin", "sbin", "lib", "lib64")
_NETWORK = f"198.18.{os.getpid() % 256}"  # of those that are for tests: RFC 2544
HERE = f"{_NETWORK}.1"
"""The address by which the hosts reach this machine."""
_BRIDGE = f"dogs{os.getpid() % 10**6}"
_PORT = 50000


class Host(NamedTuple):
    namespace: str
    address: str
    root: Path


def skip_without_namespaces() -> None:
    """Skips the test where there can be no hosts, and says what is missing."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        pytest.skip("network namespaces and the image's environment are for x86-64 Linux")
    if os.geteuid():
        pytest.skip("only root may make network namespaces")
    if not shutil.which("ip"):
        pytest.skip("no ip here (Debian, Ubuntu: apt install iproute2)")
    for command in (
        ["unshare", "--mount", "--net", "--uts", "true"],
        ["unshare", "--net", "ip", "link", "add", _BRIDGE, "type", "bridge"],
    ):
        tried = subprocess.run(command, capture_output=True, text=True)
        if tried.returncode:
            pytest.skip(f"{shlex.join(command)} is not allowed here: {tried.stderr.strip()}")


def make_root(root: Path) -> None:
    """Makes a host's root folder, with an environment of its own from the image's lock."""
    for name in ("proc", "dev", "tmp", "opt"):
        (root / name).mkdir(parents=True)
    for name in _OF_THE_SYSTEM:
        original = Path("/", name)
        if original.is_symlink():
            (root / name).symlink_to(original.readlink())
        elif original.is_dir():
            (root / name).mkdir()
    install = str(ROOT / "requirements" / "install.py")
    subprocess.run([sys.executable, install, "--image", f"{root}{ENVIRONMENT}"], check=True)


@contextmanager
def network(roots: Sequence[Path]) -> Iterator[list[Host]]:
    """Gives each root folder a network namespace, which reaches this machine and is reached."""
    with ExitStack() as stack:
        _ip(f"link add {_BRIDGE} type bridge")
        stack.callback(_ip, f"link del {_BRIDGE}")
        _ip(f"address add {HERE}/24 dev {_BRIDGE}")
        _ip(f"link set {_BRIDGE} up")
        hosts = []
        for number, root in enumerate(roots, start=2):
            namespace, address = f"{_BRIDGE}-{number}", f"{_NETWORK}.{number}"
            _ip(f"netns add {namespace}")
            stack.callback(_ip, f"netns del {namespace}")
            _ip(f"link add {namespace} type veth peer name eth0 netns {namespace}")
            _ip(f"link set {namespace} master {_BRIDGE} up")
            _ip(f"-n {namespace} address add {address}/24 dev eth0")
            _ip(f"-n {namespace} link set eth0 up")
            _ip(f"-n {namespace} link set lo up")
            hosts.append(Host(namespace, address, root))
        yield hosts


@contextmanager
def pool_on(host: Host, shared: Path) -> Iterator[Pool]:
    """Starts a pool of workers, as the image starts it, on a host, and ends it by force.

    Args:
        host: where.
        shared: the folder that the host sees beside its own, at the same place.
    """
    python = Path(f"{host.root}{ENVIRONMENT}/bin/python").resolve().parents[1]
    inside = [*(f"/{name}" for name in _OF_THE_SYSTEM), *([str(python)] * (python != Path("/usr")))]
    steps = [f"mount -t proc proc {host.root}/proc", f"mount --rbind /dev {host.root}/dev"]
    for place in inside:
        if Path(place).is_dir() and not Path(place).is_symlink():
            Path(f"{host.root}{place}").mkdir(parents=True, exist_ok=True)
            steps.append(f"mount -o bind,ro {place} {host.root}{place}")
    Path(f"{host.root}{shared}").mkdir(parents=True, exist_ok=True)
    steps.append(f"mount --bind {shared} {host.root}{shared}")
    steps.append(f"hostname {host.namespace}")
    steps.append(
        f"exec chroot {host.root} env -i --chdir=/tmp PATH={ENVIRONMENT}/bin:/usr/bin:/bin "
        f"{ENVIRONMENT}/bin/python -m pipeline.cluster.beam_worker_pool --port={_PORT}"
    )
    command = ["ip", "netns", "exec", host.namespace, "unshare", "--mount", "--uts"]
    command += ["sh", "-ec", "\n".join(steps)]
    with (host.root / "errors").open("a") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    with process:
        try:
            assert process.stdout
            assert process.stdout.readline(), (host.root / "errors").read_text()
            yield Pool(process, f"{host.address}:{_PORT}")
        finally:
            process.kill()


def _ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True)
