import functools
import importlib.util
import platform
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
ROOMS = ("data", "components", "pipeline", "serving")
PACKAGING = ("pyproject.toml", "setup.py")
LOCKS = ("new-glibc", "old-glibc")
ADDITIONS = ("dev", "gpu")

# Stands in for uv: notes each call and the files of a folder to be installed, has the Pythons named
# in HAVE, and fails at what FAILS names.
UV = """\
#!/bin/sh
echo "$1 $2" >> "$CALLS"
test "$1 $2" = "$FAILS" && exit 1
for last; do :; done
case "$1 $2" in
    "python find") case "$HAVE" in *"$last"*) echo "/pythons/python$last" ;; *) exit 1 ;; esac ;;
    "python install") exit 1 ;;
    "venv "*) mkdir -p "$last/bin"; touch "$last/pyvenv.cfg"; ln -s /bin/sh "$last/bin/python" ;;
    "pip sync") shift 4; printf '%s\n' "$@" > "$CALLS.synced" ;;
    "pip install") if test -d "$last"; then cd "$last" && find . -type f > "$CALLS.files"; fi ;;
esac
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project to set up, its name with a space, on a machine with new glibc and Python 3.11."""
    root = tmp_path / "a project"
    shutil.copytree(ROOT / "requirements", root / "requirements")
    shutil.copy(ROOT / "Makefile", root)
    for file in PACKAGING:
        shutil.copy(ROOT / file, root)
    for room in ROOMS:
        (root / room).mkdir()
        (root / room / "__init__.py").touch()
    _program(tmp_path / "bin" / "uv", UV)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("HAVE", "3.11")
    monkeypatch.setenv("FAILS", "nothing")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.41"))
    return root


@pytest.fixture
def set_up(project: Path) -> Callable[[], int]:
    return _load(project).main


@pytest.fixture
def image(project: Path) -> Path:
    """Where the environment of the image is to be."""
    return project.with_name("image")


@pytest.fixture
def set_up_image(project: Path, image: Path) -> Callable[[], int]:
    return functools.partial(_load(project).main, "--image", str(image))


def test_makes_an_environment_and_then_leaves_it_alone(
    project: Path, set_up: Callable[[], int]
) -> None:
    assert set_up() == 0
    calls = _calls(project)
    assert calls[-4:] == ["venv --quiet", "pip install", "pip sync", "pip install"]

    assert set_up() == 0
    assert _calls(project) == calls


def test_makes_it_anew_when_the_lock_changes(project: Path, set_up: Callable[[], int]) -> None:
    set_up()
    for times, lock in enumerate(("new-glibc", "dev"), start=2):
        _change(project / "requirements" / f"{lock}.txt")
        assert set_up() == 0
        assert _calls(project).count("venv --quiet") == times


@pytest.mark.parametrize("file", PACKAGING)
def test_installs_our_own_package_anew_when_its_packaging_changes(
    project: Path, set_up: Callable[[], int], file: str
) -> None:
    set_up()
    calls = _calls(project)
    _change(project / file)
    assert set_up() == 0
    assert _calls(project) == [*calls, "--version ", "pip install"]


def test_makes_it_anew_where_the_folder_was_moved_to(
    project: Path, set_up: Callable[[], int]
) -> None:
    set_up()
    moved = project.rename(project.with_name("moved"))
    assert _load(moved).main() == 0
    assert _calls(moved).count("venv --quiet") == 2


@pytest.mark.parametrize("step", ["venv --quiet", "pip sync"])
def test_starts_from_nothing_after_a_failure(
    project: Path, set_up: Callable[[], int], step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAILS", step)
    assert set_up() == 1
    monkeypatch.setenv("FAILS", "nothing")
    (project / ".venv").mkdir(exist_ok=True)
    (project / ".venv" / "half-installed").touch()
    assert set_up() == 0
    assert not (project / ".venv" / "half-installed").exists()


@pytest.mark.parametrize("for_image", [False, True])
def test_two_at_once_do_the_work_once(project: Path, image: Path, for_image: bool) -> None:
    option = ["--image", str(image)] if for_image else []
    command = [sys.executable, str(project / "requirements" / "install.py"), *option]
    both = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [each.wait(timeout=60) for each in both] == [0, 0]
    assert _calls(project).count("venv --quiet") == 1


def test_an_image_holds_a_copy_of_the_code_alone(
    project: Path, image: Path, set_up_image: Callable[[], int]
) -> None:
    for junk in ("build/lib/data/old.py", "data/__pycache__/old.cpython-311.pyc", "notes.txt"):
        (project / junk).parent.mkdir(parents=True, exist_ok=True)
        (project / junk).touch()
    assert set_up_image() == 0
    assert (image / "bin" / "python").is_symlink()
    assert not (project / ".venv").exists()
    code = [*(f"./{file}" for file in PACKAGING), *(f"./{room}/__init__.py" for room in ROOMS)]
    assert sorted(_installed_files(project)) == sorted(code)


def test_developers_get_their_tools_an_image_does_not(
    project: Path, set_up: Callable[[], int], set_up_image: Callable[[], int]
) -> None:
    assert set_up() == 0
    assert _synced(project) == ["new-glibc.txt", "dev.txt"]
    assert set_up_image() == 0
    assert _synced(project) == ["new-glibc.txt"]


def test_an_image_for_a_gpu_gets_cuda_too(
    project: Path, image: Path, set_up_image: Callable[[], int]
) -> None:
    set_up_image()
    with_gpu = functools.partial(_load(project).main, "--image", str(image), "--gpu")
    assert with_gpu() == 0
    assert _synced(project) == ["new-glibc.txt", "gpu.txt"]
    assert _calls(project).count("venv --quiet") == 2
    _change(project / "requirements" / "gpu.txt")
    assert with_gpu() == 0
    assert _calls(project).count("venv --quiet") == 3


def test_cuda_is_for_an_image(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        _load(project).main("--gpu")
    assert ended.value.code == 2
    assert "--gpu goes with --image" in capsys.readouterr().err


def test_an_image_gets_changed_code_and_keeps_its_packages(
    project: Path, set_up_image: Callable[[], int]
) -> None:
    set_up_image()
    calls = _calls(project)
    assert set_up_image() == 0
    assert _calls(project) == calls

    (project / "data" / "new.py").touch()
    assert set_up_image() == 0
    assert _calls(project) == [*calls, "--version ", "pip install"]
    assert "./data/new.py" in _installed_files(project)


def test_an_image_is_not_up_to_date_after_its_code_failed_to_install(
    project: Path, set_up_image: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up_image()
    module = project / "data" / "new.py"
    module.touch()
    monkeypatch.setenv("FAILS", "pip install")
    assert set_up_image() == 1
    module.unlink()
    monkeypatch.setenv("FAILS", "nothing")
    assert set_up_image() == 0
    assert _calls(project).count("venv --quiet") == 1
    assert _calls(project)[-1] == "pip install"


def test_an_image_is_made_anew_when_the_lock_changes(
    project: Path, set_up_image: Callable[[], int]
) -> None:
    set_up_image()
    _change(project / "requirements" / "new-glibc.txt")
    assert set_up_image() == 0
    assert _calls(project).count("venv --quiet") == 2


def test_an_image_is_made_anew_after_its_removal_was_interrupted(
    project: Path, image: Path, set_up_image: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up_image()
    _change(project / "requirements" / "new-glibc.txt")

    def interrupted(folder: Path, **_: object) -> None:
        if (folder / "pyvenv.cfg").is_file():
            (folder / "pyvenv.cfg").unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", interrupted)
        assert set_up_image() == 130
    assert set_up_image() == 0
    assert (image / "pyvenv.cfg").is_file()
    assert [*image.parent.glob("image*")] == [image]


def test_a_folder_of_other_things_is_not_cleared_for_an_image(
    image: Path, set_up_image: Callable[[], int], capsys: pytest.CaptureFixture[str]
) -> None:
    image.mkdir()
    (image / "thesis.tex").touch()
    assert set_up_image() == 1
    assert "holds something else" in _only_line(capsys.readouterr().err)
    assert (image / "thesis.tex").exists()


def test_prefers_python_3_11(
    set_up: Callable[[], int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HAVE", "3.13 3.11 3.12")
    assert set_up() == 0
    assert "/pythons/python3.11" in capsys.readouterr().out


def test_takes_a_newer_python_and_says_what_it_cannot(
    set_up: Callable[[], int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HAVE", "3.13")
    assert set_up() == 0
    assert "Python 3.13; compiling for Kubeflow would need 3.11" in capsys.readouterr().out


def test_old_glibc_needs_python_3_11(
    set_up: Callable[[], int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setenv("HAVE", "3.12 3.13")
    assert set_up() == 1
    assert "no Python 3.11 is installed" in _only_line(capsys.readouterr().err)


def test_neither_uv_nor_pip_is_one_line(
    set_up: Callable[[], int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "executable", "/nowhere/python3")
    assert set_up() == 1
    assert "apt install python3-pip" in _only_line(capsys.readouterr().err)


def test_missing_compiler_is_one_line_before_the_large_install(
    project: Path,
    set_up: Callable[[], int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FAILS", "pip install")
    assert set_up() == 1
    assert "apt install g++" in _only_line(capsys.readouterr().err)
    assert "pip sync" not in _calls(project)


@pytest.mark.parametrize(
    ("system", "machine", "libc", "lock"),
    [
        ("linux", "x86_64", ("glibc", "2.36"), "old-glibc.txt"),
        ("linux", "x86_64", ("glibc", "2.39"), "new-glibc.txt"),
        ("linux", "x86_64", ("glibc", "2.100"), "new-glibc.txt"),
        ("darwin", "arm64", ("", ""), "new-glibc.txt"),
        ("linux", "x86_64", ("musl", "1.2"), None),
        ("linux", "aarch64", ("glibc", "2.41"), None),
        ("darwin", "x86_64", ("", ""), None),
    ],
)
def test_the_machine_picks_the_lock(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    system: str,
    machine: str,
    libc: tuple[str, str],
    lock: str | None,
) -> None:
    install = _load(project)
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "libc_ver", lambda: libc)
    if lock:
        assert install.pick_lock().file.name == lock
    else:
        with pytest.raises(install.SetupError, match="wheels only for"):
            install.pick_lock()


def test_locks_differ_in_the_two_packages_held_back() -> None:
    new, old = (_pins(lock) for lock in LOCKS)
    assert new.keys() == old.keys()
    assert {name: (old[name], new[name]) for name in new if old[name] != new[name]} == {
        "ml-metadata": ("1.17.1", "1.21.0"),
        "tensorflow-data-validation": ("1.16.1", "1.21.0"),
    }


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_hold_all_that_is_declared(lock: str) -> None:
    pins = _pins(lock)
    declared = [Requirement(line) for line in metadata.requires("dog-emotion") or []]
    assert {each.name for each in declared} <= pins.keys()
    assert [each for each in declared if pins[each.name] not in each.specifier] == []


def test_what_developers_need_is_an_addition_to_the_locks() -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    assert {*groups["dev"]} <= _pins("dev").keys()
    for lock in LOCKS:
        assert not {"pytest", "mypy", "ruff", "selenium", "uv"} & _pins(lock).keys()


@pytest.mark.parametrize("lock", LOCKS)
@pytest.mark.parametrize("addition", ADDITIONS)
def test_an_addition_has_no_other_version_of_what_a_lock_holds(lock: str, addition: str) -> None:
    pins, added = _pins(lock), _pins(addition)
    assert {name: pin for name, pin in added.items() if pins.get(name, pin) != pin} == {}


def test_only_the_addition_for_a_gpu_brings_cuda() -> None:
    assert "nvidia-cudnn-cu12" in _pins("gpu")
    for file in (*LOCKS, "dev"):
        assert not [name for name in _pins(file) if name.startswith("nvidia-")]


@pytest.mark.parametrize("lock", [*LOCKS, *ADDITIONS])
def test_locks_name_no_place(lock: str) -> None:
    assert not re.search(r"://|--index|--find-links|^/", _text(lock), re.MULTILINE)


def test_bare_make_lists_the_targets() -> None:
    listing = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("setup", "run", "test", "test-slow", "lock"):
        assert re.search(rf"^ +{target} +\S", listing, re.MULTILINE)


@pytest.mark.parametrize(
    ("given", "arguments"),
    [
        ([], ["run"]),
        (["PHOTOS=/my dogs"], ["run", "--photos", "/my dogs"]),
        (
            ['PHOTOS=it\'s "odd"; `here`', "WORKDIR=../a b"],
            ["run", "--photos", 'it\'s "odd"; `here`', "--workdir", "../a b"],
        ),
    ],
)
def test_make_run_hands_on_what_was_given(
    project: Path, given: list[str], arguments: list[str]
) -> None:
    (project / "requirements" / "install.py").write_text("")
    _program(project / ".venv" / "bin" / "dog-emotion", "#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    command = ["make", "--silent", "run", *given]
    made = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True)
    assert made.stdout.splitlines() == arguments


def test_the_wheel_holds_every_file_of_the_rooms(tmp_path: Path) -> None:
    for file in PACKAGING:
        shutil.copy(ROOT / file, tmp_path)
    for room in ROOMS:
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    files = {
        path.relative_to(tmp_path).as_posix()
        for room in ROOMS
        for path in (tmp_path / room).rglob("*")
        if path.is_file()
    }
    own_files = _load(ROOT).own_files()
    assert {path.relative_to(ROOT).as_posix() for path in own_files} == {*PACKAGING, *files}
    build = "from setuptools.build_meta import build_wheel; build_wheel('dist')"
    subprocess.run([sys.executable, "-c", build], cwd=tmp_path, capture_output=True, check=True)
    (wheel,) = (tmp_path / "dist").iterdir()
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == files


def _load(project: Path) -> ModuleType:
    file = project / "requirements" / "install.py"
    spec = importlib.util.spec_from_file_location("install", file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _change(file: Path) -> None:
    with file.open("a") as changed:
        changed.write("# changed\n")


def _program(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(0o755)


def _calls(project: Path) -> list[str]:
    return (project.parent / "calls").read_text().splitlines()


def _synced(project: Path) -> list[str]:
    """The names of the files whose packages were installed last."""
    lines = (project.parent / "calls.synced").read_text().splitlines()
    return [Path(line).name for line in lines if line.endswith(".txt")]


def _installed_files(project: Path) -> list[str]:
    return (project.parent / "calls.files").read_text().splitlines()


def _only_line(text: str) -> str:
    (line,) = text.splitlines()
    return line


def _text(lock: str) -> str:
    return (ROOT / "requirements" / f"{lock}.txt").read_text()


def _pins(lock: str) -> dict[str, str]:
    """Version by package, for Python 3.11 on Linux."""
    python = {"python_version": "3.11", "python_full_version": "3.11.9"}
    machine = {"sys_platform": "linux", "platform_python_implementation": "CPython"}
    pins = {}
    for line in re.findall(r"^\w.*==.*(?= \\$)", _text(lock), re.MULTILINE):
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(python | machine):
            (pin,) = requirement.specifier
            pins[requirement.name] = pin.version
    return pins
