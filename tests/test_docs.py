"""The documents: their links lead somewhere, and the code that they name is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    page.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "benchmarks/*.md", "docs/**/*.md")
    for page in ROOT.glob(pattern)
)
ARCHITECTURE = ROOT / "docs" / "architecture.md"


def anchors(page: Path) -> set[str]:
    """What a link can name of a page, as GitHub makes it of the headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_within_the_project_leads_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    links = re.findall(r"\]\(([^)]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    broken = []
    for link in links:
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


def test_every_decision_is_listed() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = set(re.findall(r"\]\((.+\.md)\)", (folder / "README.md").read_text()))
    assert listed == {page.name for page in folder.glob("*.md")} - {"README.md"}


def test_the_walk_of_a_photo_names_what_is_there() -> None:
    found = re.findall(r"`([\w/]+\.(?:py|js))`((?:,? `\w+`)+)", ARCHITECTURE.read_text())
    assert len(found) > 20
    for file, names in found:
        source = (ROOT / file).read_text()
        for name in re.findall(r"`(\w+)`", names):
            assert re.search(rf"\b(def|class|function) {name}\b", source), f"{file} {name}"


def test_the_versions_that_are_said_to_be_supported_are_those_that_are_locked() -> None:
    text = (ROOT / "docs" / "deployment.md").read_text()
    told = text.partition("\n## Versions\n")[2].partition("\n## ")[0]
    requirements = ROOT / "requirements"

    def pin(file: str, package: str) -> str:
        lock = (requirements / file).read_text()
        (version,) = re.findall(rf"^{package}==(\S+)", lock, re.MULTILINE)
        return str(version)

    for package in ("kfp", "google-cloud-aiplatform"):
        assert f"{package} {pin('old-glibc.txt', package)}" in told
    assert f"| Apache Beam | {pin('old-glibc.txt', 'apache-beam')}," in told
    versions = ", ".join(pin("old-glibc.txt", package) for package in ("tensorflow", "tfx"))
    assert f"| TensorFlow, TFX | {versions} |" in told
    cuda, cudnn = (pin("gpu.txt", f"nvidia-{each}-cu12") for each in ("cuda-runtime", "cudnn"))
    assert f"| CUDA | {cuda.rpartition('.')[0]}, cuDNN {cudnn.rsplit('.', 2)[0]}," in told
    compose = (ROOT / "serving" / "deploy" / "docker-compose.yml").read_text()
    (served,) = re.findall(r"tensorflow/serving:(\S+)", compose)
    assert f"| TF Serving | {served} |" in told
