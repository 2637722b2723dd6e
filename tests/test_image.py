"""The container image: what the Dockerfile says, and what comes of it on a machine without Docker.

The slow tests do in folders what the Dockerfile says, and start the image's programs there.
"""

import os
import platform
import re
import shlex
import shutil
import string
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
DOCKERFILE = ROOT / "Dockerfile"
ROOMS = ("data", "components", "pipeline", "serving")
SOURCES = {"pyproject.toml", "setup.py", "requirements", *ROOMS}
SITE_PACKAGES = "/opt/dog-emotion/lib/python3.11/site-packages"

IMPORT_ALL = f"""
import importlib, pkgutil
import kfp
from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner
import tensorflow_data_validation
for room in {ROOMS}:
    package = importlib.import_module(room)
    assert package.__file__.startswith({SITE_PACKAGES!r}), package.__file__
    for module in pkgutil.walk_packages(package.__path__, room + "."):
        if not module.name.endswith(".__main__"):
            importlib.import_module(module.name)
print("imported")
"""


class Instruction(NamedTuple):
    keyword: str
    flags: dict[str, str]
    """Such as from: builder."""
    value: str


class Stage:
    """A stage of the Dockerfile: a folder, and what the next instruction inherits."""

    def __init__(self, root: Path, parent: "Stage | None") -> None:
        self.root = root
        # What Docker itself sets.
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        self.environment: dict[str, str] = {"PATH": path, "HOME": "/root"}
        self.workdir = PurePath("/")
        self.user = "0:0"
        if parent:
            self.environment = dict(parent.environment)
            self.workdir = parent.workdir
            self.user = parent.user

    def path(self, inside: str) -> Path:
        """Where a path of the stage is on this machine."""
        return self.root / (self.workdir / inside).relative_to("/")

    def run(
        self, *command: str, variables: Mapping[str, str] = {}, mounts: Mapping[str, Path] = {}
    ) -> str:
        """Runs a command as a container would, and returns what it prints.

        It alone sees what is mounted for it: nothing has to be unmounted, whatever happens.
        """
        steps = [
            ["mount", "-t", "proc", "proc", f"{self.root}/proc"],
            ["mount", "-t", "tmpfs", "-o", "mode=1777", "shm", f"{self.root}/dev/shm"],
        ]
        for inside, folder in mounts.items():
            self.path(inside).mkdir(exist_ok=True)
            steps.append(["mount", "--bind", str(folder), str(self.path(inside))])
        assigned = [f"{name}={value}" for name, value in {**variables, **self.environment}.items()]
        started = ["env", "-i", f"--chdir={self.workdir}", *assigned, *command]
        steps.append(["exec", "chroot", f"--userspec={self.user}", str(self.root), *started])
        script = "\n".join(map(shlex.join, steps))
        done = subprocess.run(
            ["unshare", "--mount", "--propagation=private", "sh", "-ec", script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}"
        return done.stdout


class Replay:
    """Does what a Dockerfile says, in folders."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stages: dict[str, Stage] = {}
        self.skipped: list[Instruction] = []
        """What would be copied from an image that is not made here."""
        self.cache = folder / "cache"
        self.cache.mkdir()

    def follow(self, instructions: list[Instruction]) -> Stage:
        """Returns the last stage, which is the image."""
        for instruction in instructions:
            keyword, flags, value = instruction
            match keyword:
                case "FROM":
                    stage = self.begin(*value.split(" AS "))
                case "RUN":
                    self.run(stage, value, **flags)
                case "COPY" if "from" not in flags:
                    _copy_from_checkout(*_source_and_target(stage, value))
                case "COPY" if flags["from"] in self.stages:
                    source, target = _source_and_target(stage, value)
                    found = self.stages[flags["from"]].path(source)
                    subprocess.run(["cp", "-a", found, target], check=True)
                case "COPY":
                    self.skipped.append(instruction)
                case "ENV":
                    value = string.Template(value).substitute(stage.environment)
                    pairs = (pair.split("=", 1) for pair in shlex.split(value))
                    stage.environment.update(dict(pairs))
                case "WORKDIR":
                    stage.workdir /= value
                    stage.path("").mkdir(exist_ok=True)
                case "USER":
                    stage.user = value
                case "ENTRYPOINT" | "ARG":  # an argument has no value unless one is given
                    pass
                case _:
                    raise NotImplementedError(keyword)
        return stage

    def begin(self, image: str, name: str = "") -> Stage:
        """A stage on another one, or on the Debian release that an image is named after."""
        root = self.folder / f"stage-{len(self.stages)}"
        parent = self.stages.get(image)
        if parent:
            subprocess.run(["cp", "-a", parent.root, root], check=True)
        else:
            (release,) = re.findall(r"^debian:(\w+)-", image)
            subprocess.run(["debootstrap", "--variant=minbase", release, root], check=True)
        self.stages[name] = Stage(root, parent)
        return self.stages[name]

    def run(self, stage: Stage, command: str, mount: str = "") -> None:
        variables, files = _way_to_the_package_index()
        for inside, file in files.items():
            shutil.copy(file, stage.path(inside))
        mounts = {}
        if mount:
            options = dict(option.split("=") for option in mount.split(","))
            assert options.pop("type") == "cache"
            mounts[options.pop("target")] = self.cache
            assert not options
        stage.run("sh", "-c", command, variables=variables, mounts=mounts)


@pytest.fixture(scope="module")
def instructions() -> list[Instruction]:
    return _parse(DOCKERFILE.read_text())


@pytest.fixture(scope="module")
def replay() -> Iterator[Replay]:
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        pytest.skip("the image is for x86-64 Linux")
    if not shutil.which("debootstrap"):
        pytest.skip("no debootstrap here (Debian, Ubuntu: apt install debootstrap)")
    if subprocess.run(["unshare", "--mount", "true"], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("only a root who may mount can do what the Dockerfile says without Docker")
    with tempfile.TemporaryDirectory(prefix="dog-emotion-image-") as folder:
        yield Replay(Path(folder))


@pytest.fixture(scope="module")
def image(replay: Replay, instructions: list[Instruction]) -> Stage:
    """The image, from which every slow test starts something: 13 GB, made in minutes."""
    return replay.follow(instructions)


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    found = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (0, "")


def test_all_stages_are_on_one_build_of_debian_12(instructions: list[Instruction]) -> None:
    """Its Python 3.11 is the one that compiles for Kubeflow."""
    base, *others = [value for keyword, _, value in instructions if keyword == "FROM"]
    assert re.fullmatch(r"debian:bookworm-\d{8}-slim@sha256:[0-9a-f]{64} AS base", base)
    assert others == ["base AS builder", "base"]


def test_the_workers_start_is_of_the_locked_beam(instructions: list[Instruction]) -> None:
    lock = (ROOT / "requirements" / "old-glibc.txt").read_text()
    (beam,) = re.findall(r"^apache-beam==(\S+)", lock, re.MULTILINE)
    images = [flags.get("from") for _, flags, _ in instructions]
    assert f"apache/beam_python3.11_sdk:{beam}" in images
    # Which it asks of pip.
    assert re.search(r"^pip==", lock, re.MULTILINE)


def test_the_user_is_a_number_and_not_root(instructions: list[Instruction]) -> None:
    *_, user = [value for keyword, _, value in instructions if keyword == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)


def test_what_the_package_is_made_from_is_copied_and_nothing_else(
    instructions: list[Instruction],
) -> None:
    copies = [each for each in instructions if each.keyword == "COPY" and "from" not in each.flags]
    assert {each.value.split()[0] for each in copies} == SOURCES
    assert {path.name for path in ROOT.iterdir() if not _is_ignored(path)} == SOURCES


@pytest.mark.parametrize(
    ("path", "ignored"),
    [
        ("data/contract/features.py", False),
        ("data/__pycache__/features.cpython-311.pyc", True),
        ("pipeline/profiles/__pycache__", True),
        ("runs/data/metrics.json", True),
    ],
)
def test_dockerignore_keeps_out_what_runs_leave(path: str, ignored: bool) -> None:
    assert _is_ignored(ROOT / path) == ignored


def test_a_build_argument_makes_an_image_for_a_gpu(instructions: list[Instruction]) -> None:
    assert Instruction("ARG", {}, "GPU") in instructions
    (install,) = (each.value for each in instructions if "install.py" in each.value)
    script = install.replace("python3", "echo", 1)
    said = {
        gpu: subprocess.run(
            ["sh", "-c", script], env={**os.environ, "GPU": gpu}, capture_output=True, text=True
        ).stdout.split()[1:]
        for gpu in ("", "1")
    }
    assert said == {
        "": ["--image", "/opt/dog-emotion"],
        "1": ["--image", "/opt/dog-emotion", "--gpu"],
    }


@pytest.mark.slow
def test_all_was_done_but_to_copy_the_workers_start(image: Stage, replay: Replay) -> None:
    (skipped,) = replay.skipped
    assert skipped.flags["from"].startswith("apache/beam_python3.11_sdk:")
    assert skipped.value == "/opt/apache/beam /opt/apache/beam"


@pytest.mark.slow
def test_all_that_the_code_imports_is_in_the_image(image: Stage) -> None:
    assert image.run("python", "-c", IMPORT_ALL).endswith("imported\n")


@pytest.mark.slow
def test_the_command_is_in_the_image(image: Stage) -> None:
    assert "usage: dog-emotion" in image.run("dog-emotion", "--help")


@pytest.mark.slow
def test_the_workers_start_finds_what_it_asks_for(
    image: Stage, instructions: list[Instruction]
) -> None:
    """Beam's boot asks pip for the version of Beam, and then runs this module; it makes an
    environment of its own where the variable is not set."""
    (beam,) = re.findall(
        r"^COPY --from=\S+beam_python3.11_sdk:([\d.]+)", DOCKERFILE.read_text(), re.MULTILINE
    )
    shown = image.run("python", "-m", "pip", "show", "apache-beam")
    assert f"Version: {beam}\n" in shown
    assert f"Location: {SITE_PACKAGES}\n" in shown
    found = "import importlib.util as u; assert u.find_spec('{}')"
    image.run("python", "-c", found.format("apache_beam.runners.worker.sdk_worker_main"))
    assert image.environment["RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT"] == "1"


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["pytest", "mypy", "ruff", "uv"])
def test_the_image_is_without_the_tools_of_developers(image: Stage, tool: str) -> None:
    assert not image.path(f"/opt/dog-emotion/bin/{tool}").exists()
    assert not list(image.path(SITE_PACKAGES).glob(f"{tool}-*.dist-info"))


@pytest.mark.slow
def test_a_task_of_kubeflow_starts_in_the_image(image: Stage) -> None:
    executor = "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor"
    assert "--json_serialized_invocation_args" in image.run("python", "-m", executor, "--help")


@pytest.mark.slow
def test_the_code_is_in_the_image_once(image: Stage) -> None:
    found = list(image.root.rglob("activation_cache.py"))
    assert found == [image.path(f"{SITE_PACKAGES}/components/nodes/activation_cache.py")]


@pytest.mark.slow
@pytest.mark.parametrize("package", ["components", "keras", "tfx"])
def test_the_image_holds_its_code_compiled(image: Stage, package: str) -> None:
    assert any(image.path(f"{SITE_PACKAGES}/{package}/__pycache__").iterdir())


@pytest.mark.slow
def test_the_user_writes_at_home_and_not_into_the_code(image: Stage) -> None:
    script = "touch here ~/there /tmp/elsewhere && id -u && ! touch /opt/dog-emotion/new"
    assert image.run("sh", "-c", script).startswith("1000\n")


def _parse(dockerfile: str) -> list[Instruction]:
    lines = [line for line in dockerfile.splitlines() if line and not line.startswith("#")]
    found = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        ((keyword, flags, value),) = re.findall(r"^(\w+) ((?:--\S+ +)*)(.+)$", line)
        pairs = (flag.removeprefix("--").split("=", 1) for flag in flags.split())
        found.append(Instruction(keyword, dict(pairs), value))
    return found


def _source_and_target(stage: Stage, value: str) -> tuple[str, Path]:
    source, target = value.split()
    return source, stage.path(target)


def _copy_from_checkout(source: str, target: Path) -> None:
    def ignored(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if _is_ignored(Path(folder, name))]

    if (ROOT / source).is_file():
        shutil.copy(ROOT / source, target)
    else:
        shutil.copytree(ROOT / source, target, ignore=ignored)


def _is_ignored(path: Path) -> bool:
    """Whether .dockerignore keeps a path out: the last pattern that fits it or a parent decides."""
    inside = PurePath("/") / path.relative_to(ROOT)
    ignored = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        anywhere = pattern.removeprefix("**/")
        pattern = anywhere if anywhere != pattern else f"/{pattern}"
        if any(each.match(pattern) for each in (inside, *inside.parents)):
            ignored = not line.startswith("!")
    return ignored


def _way_to_the_package_index() -> tuple[dict[str, str], dict[str, Path]]:
    """This machine's settings of it: variables, and by their place inside the files they name."""
    variables, files = {}, {}
    for name, value in os.environ.items():
        if re.fullmatch(r"(pip|uv)_.*|.*_proxy|ssl_cert_file", name, re.IGNORECASE):
            if Path(value).is_file():
                files[f"/run/{name}"] = Path(value)
                value = f"/run/{name}"
            variables[name] = value
    return variables, files
