"""The table of docs/architecture.md that says which edit makes which nodes run again."""

import json
import re
from pathlib import Path

import pytest
from tfx.dsl.compiler.compiler import Compiler

from data.contract.features import BRIGHTNESS
from data.contract.model import push_destination
from data.ingest import RECORD_MODULES
from pipeline import pipeline
from pipeline.beam_args import LOCAL_BEAM_ARGS
from pipeline.code_hash import ROOT, closure
from pipeline.config import load_config
from pipeline.pipeline import UNCACHED, create_pipeline

BACKBONE = "efficientnet_lite0"
PAGE = ROOT / "docs" / "architecture.md"
HEADING = "## What runs again after an edit"
INGESTION = "ingestion"

Rows = dict[str, set[str]]


@pytest.fixture(scope="module")
def modules() -> Rows:
    """The modules that each node of the compiled graph is keyed by; empty where there are none."""
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(pipeline, "code_hash", lambda *modules: " ".join(modules))
        graph = Compiler().compile(
            create_pipeline(
                load_config(
                    overrides=(
                        f"model.backbone={BACKBONE}",
                        "model.weights=random",
                        "training.augmentation.mode=cached",
                        "training.tune=true",
                    )
                ),
                pipeline_root="/nowhere",
                data_root="/nowhere",
                push_destination=push_destination("/nowhere"),
                served=f"{BRIGHTNESS}\n1.0\n",
                beam_pipeline_args=LOCAL_BEAM_ARGS,
            )
        )
    found = {}
    for each in graph.nodes:
        node = each.pipeline_node
        values = {
            key: parameter.field_value.string_value
            for key, parameter in node.parameters.parameters.items()
        }
        custom = json.loads(values.get("custom_config") or "null") or {}
        members = json.loads(values.get("members") or "[]")
        codes = [each.get("code", "") for each in (values, custom, *members)]
        found[node.node_info.id] = set(" ".join(codes).split())
    return found


@pytest.fixture(scope="module")
def derived(modules: Rows) -> Rows:
    """By file of ours: the nodes whose key an edit of it changes."""
    rows: Rows = {}
    for node, named in modules.items():
        for file in closure(*named)[0]:
            rows.setdefault(file.relative_to(ROOT).as_posix(), set()).add(node)
    for module in RECORD_MODULES:
        rows.setdefault(f"data/{module}", set()).add(INGESTION)
    return rows


@pytest.fixture(scope="module")
def written() -> Rows:
    """By file: the nodes that the table names."""
    _, _, section = PAGE.read_text().partition(f"{HEADING}\n")
    rows: Rows = {}
    for line in section.partition("\n## ")[0].splitlines():
        if cells := re.fullmatch(r"\| (`.+`) \| (.+) \|", line):
            files, nodes = cells.groups()
            for file in re.findall(r"`([^`]+)`", files):
                assert file not in rows, f"{file} stands in two rows"
                rows[file.replace("BACKBONE", BACKBONE)] = set(nodes.split(", "))
    return rows


def test_the_table_says_what_the_code_does(written: Rows, derived: Rows) -> None:
    assert written == derived


def test_nodes_without_a_key_run_no_code_of_ours_or_are_never_cached(modules: Rows) -> None:
    """TFX's own nodes are known by TFX's version, which is in every key.

    ImportExampleGen runs our code, but copies files, and a copy is what its source is.
    """
    of_tfx = {"ImportExampleGen", "StatisticsGen", "ExampleValidator"}
    resolved_anew = {"EarlierStatistics", "LastPushedModel", "BestPushedModel"}
    keyless = {node for node, named in modules.items() if not named}
    assert keyless == of_tfx | resolved_anew | {*UNCACHED} & modules.keys()


@pytest.mark.parametrize(
    "file",
    [
        "components/model/backbones/tiny.py",
        "components/nodes/pusher.py",
        "pipeline/summary.py",
        "serving/asking/figure.py",
        "serving/embedded/app.py",
    ],
)
def test_an_edit_of_what_no_node_runs_runs_nothing_again(derived: Rows, file: str) -> None:
    assert Path(ROOT, file).is_file()
    assert file not in derived
