from pathlib import Path

import pytest

from data.contract.errors import UsageError
from data.errors import DataError
from data.folder import LabelledPhoto, find_photos, list_photos, require_apart


def touch(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def names(photos: list[LabelledPhoto]) -> list[tuple[str, str]]:
    return [(photo.name, photo.label) for photo in photos]


def test_folders_are_classes_and_files_at_any_depth_their_photos(tmp_path: Path) -> None:
    touch(tmp_path / "sad/b.jpg", tmp_path / "happy/day 1/c.JPG", tmp_path / "happy/a.png")
    photos = list_photos(tmp_path)
    assert names(photos) == [
        ("happy/a.png", "happy"),
        ("happy/day 1/c.JPG", "happy"),
        ("sad/b.jpg", "sad"),
    ]
    assert photos[0].path == tmp_path / "happy/a.png"


def test_dot_names_and_files_outside_class_folders_are_ignored(tmp_path: Path) -> None:
    touch(
        tmp_path / "happy/a.jpg",
        tmp_path / "sad/b.jpg",
        tmp_path / "README.md",
        tmp_path / ".git/config",
        tmp_path / "happy/.DS_Store",
        tmp_path / "happy/.thumbs/a.jpg",
    )
    assert names(list_photos(tmp_path)) == [("happy/a.jpg", "happy"), ("sad/b.jpg", "sad")]


def test_links_to_files_are_followed_and_loops_are_not(tmp_path: Path) -> None:
    touch(tmp_path / "source/happy/a.jpg", tmp_path / "elsewhere/b.jpg")
    source = tmp_path / "source"
    (source / "sad").symlink_to(tmp_path / "elsewhere")
    (source / "happy/link.jpg").symlink_to(tmp_path / "elsewhere/b.jpg")
    (source / "happy/loop").symlink_to(source)
    assert names(list_photos(source)) == [
        ("happy/a.jpg", "happy"),
        ("happy/link.jpg", "happy"),
        ("sad/b.jpg", "sad"),
    ]


def test_names_that_are_not_utf8_are_shown_with_a_mark(tmp_path: Path) -> None:
    touch(tmp_path / "happy/a.jpg", tmp_path / "sad/b.jpg")
    odd = Path(str(tmp_path), "sad", b"caf\xe9.jpg".decode("utf-8", "surrogateescape"))
    odd.touch()
    photo = list_photos(tmp_path)[-1]
    assert photo.name == "sad/caf\N{REPLACEMENT CHARACTER}.jpg"
    assert photo.path == odd


def test_table_paths_are_relative_to_the_table(tmp_path: Path) -> None:
    table = tmp_path / "photos.csv"
    table.write_text(
        '\N{BYTE ORDER MARK}path,label,by\nb.jpg,sad,me\n"sub/a, 1.jpg",happy,you\n',
        encoding="utf-8",
    )
    photos = list_photos(table)
    assert names(photos) == [("b.jpg", "sad"), ("sub/a, 1.jpg", "happy")]
    assert photos[1].path == tmp_path / "sub/a, 1.jpg"  # whether it exists shows when it is read


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg,happy\nb.jpg,sad\n", "the first line must name the columns path,label"),
        ("", "the first line must name the columns path,label"),
        ("path,label\na.jpg\n", "line 2: path or label is empty"),
        ("path,label\na.jpg,happy\n,sad\n", "line 3: path or label is empty"),
        ("path,label\n", "no photos in"),
        ("path,label\na.jpg,happy\nb.jpg,happy\n", r"only one class \(happy\)"),
        ("path,label\na.jpg,happy\nb.jpg,'sad \n", 'class name "\'sad "'),
        ('path,label\na.jpg,happy\nb.jpg,"sad,very"\n', "class name 'sad,very'"),
        ('path,label\na.jpg,happy\nb.jpg,"sad\nvery"\n', r"class name 'sad\\nvery'"),
    ],
)
def test_unusable_tables(tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "photos.csv"
    table.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        list_photos(table)


def test_table_that_is_not_text(tmp_path: Path) -> None:
    table = tmp_path / "photos.csv"
    table.write_bytes(b"path,label\n\xff\xd8\xff\xe0,\0\n")
    with pytest.raises(DataError, match="is not a CSV table"):
        list_photos(table)


def test_missing_source(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such folder or CSV file"):
        list_photos(tmp_path / "nowhere")


def test_folder_without_class_folders(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg")
    with pytest.raises(DataError, match="it needs one folder for each class"):
        list_photos(tmp_path)


def test_one_class_alone(tmp_path: Path) -> None:
    touch(tmp_path / "happy/a.jpg")
    with pytest.raises(DataError, match=r"only one class \(happy\)"):
        list_photos(tmp_path)


def test_empty_class_folder(tmp_path: Path) -> None:
    touch(tmp_path / "happy/a.jpg", tmp_path / "sad/.DS_Store")
    with pytest.raises(DataError, match=r"class folder .*/sad is empty"):
        list_photos(tmp_path)


def test_photos_are_found_whatever_the_classes_are(tmp_path: Path) -> None:
    touch(tmp_path / "one, two/a.jpg", tmp_path / "sad/.DS_Store")
    (found,) = find_photos(tmp_path)
    assert (found.name, found.label) == ("one, two/a.jpg", "one, two")


def test_class_names_may_be_any_word(tmp_path: Path) -> None:
    touch(tmp_path / "glücklich/a.jpg", tmp_path / "very sad/b.jpg", tmp_path / "_3/c.jpg")
    assert [photo.label for photo in list_photos(tmp_path)] == ["_3", "glücklich", "very sad"]


@pytest.mark.parametrize("name", ["sad, very", "sad\nvery", " sad"])
def test_class_names_that_break_lists_are_refused(tmp_path: Path, name: str) -> None:
    touch(tmp_path / "happy/a.jpg", tmp_path / name / "b.jpg")
    with pytest.raises(DataError, match="cannot be used: rename it"):
        list_photos(tmp_path)


@pytest.fixture
def dogs(tmp_path: Path) -> Path:
    """Two class folders, one of which is a link to elsewhere."""
    touch(tmp_path / "dogs/happy/a.jpg", tmp_path / "elsewhere/b.jpg")
    (tmp_path / "dogs/sad").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "alias").symlink_to(tmp_path / "dogs")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "big").mkdir()
    (tmp_path / "dogs/runs").symlink_to(tmp_path / "big")
    return tmp_path / "dogs"


@pytest.mark.parametrize(
    ("out", "source"),
    [
        ("dogs", "dogs"),
        ("dogs/records", "dogs"),
        ("dogs/happy/records/1", "dogs"),
        ("alias/records", "dogs"),
        ("dogs/records", "alias"),
        ("elsewhere/records", "dogs"),
        ("dogs/runs/records", "dogs"),
        ("alias/runs/records", "dogs"),
        ("other/../dogs/records", "dogs"),
    ],
)
def test_records_among_the_photos_are_refused(dogs: Path, out: str, source: str) -> None:
    with pytest.raises(UsageError, match=r"is inside .*: name a folder apart from the photos$"):
        require_apart(dogs.parent / out, dogs.parent / source)


@pytest.mark.parametrize("out", ["records", "dogs-run", "dogs/../records", "loop/records"])
def test_records_beside_the_photos_are_not(dogs: Path, out: str) -> None:
    require_apart(dogs.parent / out, dogs)


def test_records_may_lie_beside_a_table(dogs: Path) -> None:
    touch(dogs / "photos.csv")
    require_apart(dogs / "records", dogs / "photos.csv")
