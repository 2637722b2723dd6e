import json

import pytest

from serving.asking.answers import as_json, as_text
from serving.asking.prediction import Prediction

HAPPY = Prediction("happy", {"angry": 0.25, "happy": 0.7, "relaxed": 0.05, "sad": 0.0})


def test_text_shows_the_emotion_then_an_aligned_line_for_every_class() -> None:
    assert as_text([("photos/rex.jpg", HAPPY)]).splitlines() == [
        "photos/rex.jpg: happy",
        "  angry     25.0%  ██████",
        "  happy     70.0%  ████████████████▊",
        "  relaxed    5.0%  █▎",
        "  sad        0.0%",
    ]


def test_text_has_a_block_for_every_answer_in_order_and_one_line_for_a_refusal() -> None:
    text = as_text([("a.jpg", HAPPY), ("b.txt", "not an image"), ("c.jpg", HAPPY)])
    first, second, third = text.split("\n\n")
    assert first.startswith("a.jpg: happy\n")
    assert second == "b.txt: no prediction: not an image"
    assert third.startswith("c.jpg: happy\n")


def test_a_certain_answer_fills_the_bar_and_keeps_the_columns() -> None:
    lines = as_text([("rex.jpg", Prediction("a", {"a": 1.0, "b": 0.0}))]).splitlines()
    assert lines[1:] == ["  a  100.0%  " + "█" * 24, "  b    0.0%"]


def test_what_the_model_is_not_sure_of_is_said_and_its_probabilities_are_shown() -> None:
    unsure = Prediction("happy", HAPPY.probabilities, certain=False, dog=0.75)
    lines = as_text([("rex.jpg", unsure)]).splitlines()
    assert lines == ["rex.jpg: not sure", *as_text([("rex.jpg", HAPPY)]).splitlines()[1:]]
    assert json.loads(as_json([("rex.jpg", unsure)])) == [
        {
            "photo": "rex.jpg",
            "label": "happy",
            "probabilities": HAPPY.probabilities,
            "certain": False,
            "dog": 0.75,
        }
    ]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_terminal_without_blocks_gets_text_that_it_can_print(encoding: str) -> None:
    text = as_text([("犬.jpg", HAPPY)], encoding)
    text.encode(encoding)
    assert "?.jpg: happy" in text
    assert "  happy     70.0%  " + "#" * 17 in text


def test_a_hostile_file_name_cannot_command_the_terminal() -> None:
    text = as_text([("a\x1b[2J\n\udcffb.jpg", HAPPY)])
    assert text.startswith("a?[2J??b.jpg: happy\n")
    assert as_text([("a\n.jpg", "no\x1bimage")]) == "a?.jpg: no prediction: no?image"


def test_json_lists_predictions_and_errors_in_order() -> None:
    assert json.loads(as_json([("rex.jpg", HAPPY), ("b.txt", "not an image")])) == [
        {"photo": "rex.jpg", "label": "happy", "probabilities": HAPPY.probabilities},
        {"photo": "b.txt", "error": "not an image"},
    ]
    assert json.loads(as_json([])) == []


def test_json_survives_a_file_name_that_is_not_unicode() -> None:
    text = as_json([("\udcff犬.jpg", HAPPY)])
    text.encode("ascii")
    assert json.loads(text)[0]["photo"] == "\udcff犬.jpg"
