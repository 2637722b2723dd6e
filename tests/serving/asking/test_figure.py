from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from data.contract.errors import UsageError
from serving.asking.errors import ModelError
from serving.asking.figure import MAX_PHOTOS, Item, draw_predictions, predictions_figure
from serving.asking.prediction import Evidence, Prediction, centred_square

PROBABILITIES = {"angry": 0.1, "happy": 0.6, "relaxed": 0.25, "sad": 0.05}


def item(caption: str = "rex.jpg", height: int = 40, width: int = 60) -> Item:
    photo = np.zeros((height, width, 3), np.uint8)
    photo[..., 0] = np.linspace(0, 255, width, dtype=np.uint8)
    return Item(photo, caption, Prediction("happy", PROBABILITIES))


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def cards(figure: Figure) -> list[tuple[Axes, Axes, Axes]]:
    photos, headlines, bars = (figure.axes[part::3] for part in range(3))
    return list(zip(photos, headlines, bars, strict=True))


def test_bars_are_as_long_as_the_probabilities_and_the_winner_stands_out() -> None:
    [(_, headline, bars)] = cards(predictions_figure([item()]))
    tracks, filled = (
        [patch for patch in bars.patches[part::2] if isinstance(patch, Rectangle)]
        for part in range(2)
    )
    shares = [
        bar.get_width() / track.get_width() for bar, track in zip(filled, tracks, strict=True)
    ]
    assert shares == pytest.approx(list(PROBABILITIES.values()))
    colours = [to_hex(bar.get_facecolor()) for bar in filled]
    assert colours[1] not in colours[:1] + colours[2:]
    assert len(set(colours)) == 2
    assert texts(bars) == ["angry", "10%", "happy", "60%", "relaxed", "25%", "sad", "5%"]
    assert texts(headline) == ["happy", "rex.jpg"]


@pytest.mark.parametrize(("height", "width"), [(60, 40), (40, 60), (50, 50), (10, 400)])
def test_photos_keep_their_proportions(height: int, width: int) -> None:
    figure = predictions_figure([item(height=height, width=width)])
    [(axes, _, _)] = cards(figure)
    [image] = axes.images
    # On the page, not in the data: the axes could be stretched too.
    left, right, bottom, top = image.get_extent()
    corners = axes.transData.transform([(left, bottom), (right, top)])
    page_width, page_height = corners[1] - corners[0]
    assert page_width / page_height == pytest.approx(width / height)
    assert max(page_width, page_height) == pytest.approx(axes.bbox.width)


@pytest.mark.parametrize("photos", [1, 2, 3, 5, 7, 24])
def test_cards_lie_on_the_page_and_apart_from_each_other(photos: int) -> None:
    figure = predictions_figure([item(f"{n}.jpg") for n in range(photos)])
    boxes = [axes.get_position() for axes in figure.axes]
    assert len(boxes) == 3 * photos
    assert all(0 < box.x0 < box.x1 < 1 and 0 < box.y0 < box.y1 < 1 for box in boxes)
    edges = [(round(box.x0, 6), round(box.y0, 6)) for box in boxes]
    assert len(set(edges)) == len(edges)
    assert [texts(headline)[1] for _, headline, _ in cards(figure)] == [
        f"{n}.jpg" for n in range(photos)
    ]


def test_words_fit_their_places() -> None:
    labels = ["contemptuous and suspicious " * 3, "W" * 40, "sad"]
    prediction = Prediction(labels[0], dict.fromkeys(labels, 1 / 3))
    caption = "a long walk along the sea " * 9 + ".jpg"
    figure = predictions_figure([Item(item().photo, caption, prediction)])
    figure.draw_without_rendering()
    [(_, headline, bars)] = cards(figure)
    for axes in (headline, bars):
        for text in axes.texts:
            box = text.get_window_extent()
            assert axes.bbox.x0 - 1 <= box.x0 < box.x1 <= axes.bbox.x1 + 1
    title, name = (text.get_window_extent() for text in headline.texts)
    assert title.x1 < name.x0
    assert texts(headline)[1].startswith("a")
    assert texts(headline)[1].endswith("jpg")
    start = min(patch.get_window_extent().x0 for patch in bars.patches)
    assert all(text.get_window_extent().x1 < start for text in bars.texts[::2])


def test_a_name_is_shown_as_it_is_written_and_not_as_mathematics(tmp_path: Path) -> None:
    strange = item("$a_b$\n犬.jpg")
    [(_, headline, _)] = cards(predictions_figure([strange]))
    assert texts(headline)[1] == "$a_b$??.jpg"
    draw_predictions([strange], tmp_path / "figure.svg")


@pytest.mark.parametrize("photos", [1, 7])
def test_the_picture_is_written_whole(tmp_path: Path, photos: int) -> None:
    file = tmp_path / "figure.PNG"
    file.write_bytes(b"an earlier figure")
    draw_predictions([item()] * photos, file)
    picture = cv2.imread(str(file))
    assert picture is not None
    assert picture.std() > 10
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(("extension", "magic"), [("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_the_extension_chooses_the_format(tmp_path: Path, extension: str, magic: bytes) -> None:
    file = tmp_path / f"figure.{extension}"
    draw_predictions([item()], file)
    assert file.read_bytes().startswith(magic)


@pytest.mark.parametrize("name", ["figure.gif", "figure", ".png"])
def test_an_unknown_extension_names_the_allowed_ones(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"\.png, \.pdf, \.svg"):
        draw_predictions([item()], tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").touch()
    for name in ("missing/figure.png", "file/figure.png", "folder.png", "x" * 300 + ".png"):
        with pytest.raises(ModelError, match="cannot be written") as caught:
            draw_predictions([item()], tmp_path / name)
        assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.png"]


@pytest.mark.parametrize("photos", [0, MAX_PHOTOS + 1])
def test_a_figure_of_none_or_of_too_many_is_refused(tmp_path: Path, photos: int) -> None:
    with pytest.raises(ModelError, match=f"1 to {MAX_PHOTOS} photos, not {photos}"):
        draw_predictions([item()] * photos, tmp_path / "figure.png")


def evidence(*spots: tuple[int, int]) -> Evidence:
    """Of which some spots of 7 x 7 speak for the class, and all others against it."""
    found = np.full((7, 7), -1, np.float32)
    for spot in spots:
        found[spot] = 2
    return Evidence("happy", found)


@pytest.mark.parametrize(
    ("certain", "dog", "title"), [(False, 0.9, "not sure"), (True, 0.2, "no dog here")]
)
def test_where_the_model_does_not_know_no_class_stands_out(
    certain: bool, dog: float, title: str
) -> None:
    unsure = Prediction("happy", PROBABILITIES, certain, dog)
    [(_, headline, bars)] = cards(predictions_figure([item()._replace(prediction=unsure)]))
    assert texts(headline)[0] == title
    assert len({to_hex(patch.get_facecolor()) for patch in bars.patches[1::2]}) == 1


@pytest.mark.parametrize(("height", "width"), [(60, 40), (40, 60), (50, 50), (41, 320)])
def test_evidence_lies_over_the_square_that_the_model_sees(height: int, width: int) -> None:
    shown = item(height=height, width=width)._replace(evidence=evidence((0, 6)))
    photo, heat = predictions_figure([shown]).axes[3].images
    left, right, bottom, top = photo.get_extent()
    scale = (right - left) / width
    assert (bottom - top) / height == pytest.approx(scale)
    y, x, side = centred_square(height, width)
    square = [x, x + side, y + side, y]
    found = [
        (edge - start) / scale
        for edge, start in zip(heat.get_extent(), (left, left, top, top), strict=True)
    ]
    assert found == pytest.approx(square, abs=0.51)  # whole pixels are cut off


def test_evidence_is_drawn_where_it_is_and_its_legend_is_in_words(tmp_path: Path) -> None:
    photo = np.full((70, 140, 3), 128, np.uint8)
    shown = Item(photo, "rex.jpg", Prediction("happy", PROBABILITIES), evidence((0, 6)))
    figure = predictions_figure([shown])
    panel, legend = figure.axes[3:]
    assert texts(legend) == [
        "what speaks for happy",
        "nothing",
        "most",
        "pale: not seen by the model",
    ]
    draw_predictions([shown], tmp_path / "figure.png")
    picture = cv2.imread(str(tmp_path / "figure.png"))
    assert picture is not None
    height, width = picture.shape[:2]
    box = panel.get_position()

    def colour(x: float, y: float) -> list[int]:
        """At a place of the panel, from its upper left corner; blue, green, red."""
        column = round((box.x0 + x * box.width) * width)
        return picture[round((1 - box.y1 + y * box.height) * height), column].tolist()

    blue, _, red = colour(0.75 - 0.5 / 14, 0.25 + 0.5 / 14)
    assert red - blue > 100
    assert colour(0.5, 0.5) == colour(0.26, 0.74) == [128, 128, 128]
    assert min(colour(0.2, 0.5)) > 200


def test_where_nothing_speaks_for_the_class_the_legend_says_so() -> None:
    (*_, legend) = predictions_figure(
        [item(height=50, width=50)._replace(evidence=evidence())]
    ).axes
    assert texts(legend) == ["nothing speaks for happy"]


@pytest.mark.parametrize("photos", [1, 3, 7])
def test_cards_with_evidence_lie_on_the_page_and_apart_from_each_other(photos: int) -> None:
    shown = [item(f"{n}.jpg")._replace(evidence=evidence((3, 3))) for n in range(photos)]
    figure = predictions_figure(shown)
    boxes = [axes.get_position() for axes in figure.axes]
    assert len(boxes) == 5 * photos
    assert all(0 < box.x0 < box.x1 < 1 and 0 < box.y0 < box.y1 < 1 for box in boxes)
    edges = [(round(box.x0, 6), round(box.y0, 6)) for box in boxes]
    assert len(set(edges)) == len(edges)
