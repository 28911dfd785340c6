"""Export and import of labelled digits: exports name no owner, and a hostile file leaves nothing behind."""

import gzip
import io
import json
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recognizer import submissions
from recognizer.mnist import _idx
from recognizer.models import Correction, ModelVersion, Submission
from recognizer.owners import Owner
from recognizer.parsing import parse_drawing
from tests.conftest import Visitor
from tests.drawings import CANARIES, SEVEN, THREE, body_of, encoded, picture_of
from training.exchange import examples as exchange
from training.exchange.examples import ExchangeError
from training.exchange.formats import FORMATS
from training.exchange.incoming import import_dataset

pytestmark = pytest.mark.django_db

SUFFIXES = {name: f"{name}.{form.suffix}" for name, form in FORMATS.items()}
EPOCH_MS = 1_763_800_000_000  # a time of day that a program sent with its points
CROSS = {
    "strokes": [[[60, 60, EPOCH_MS, 0.25], [160, 220, EPOCH_MS + 20, 0.75]], [[160, 60, EPOCH_MS + 300, 1]]],
    "width": 280,
    "height": 280,
}
FIVE = picture_of(next(c["strokes"] for c in CANARIES if c["digit"] == 5))


def accepted(body: Any, digit: int | None, owner: Owner, state: str = "accepted") -> Submission:
    drawing = parse_drawing(body)
    submission = submissions.store(drawing, submissions.read(drawing), owner)
    Correction.objects.create(
        submission=submission, digit=digit, state=state, account_id=owner.account, session=owner.session
    )
    return submission


@pytest.fixture
def alice(db: None) -> User:
    return User.objects.create(username="alice_wonder")


@pytest.fixture
def site(active_model: ModelVersion, alice: User) -> list[Submission]:
    """Four accepted drawings of two owners, with a picture and a non-digit; one pending, one rejected."""
    visitor, account = Owner(session=uuid.uuid4()), Owner(account=alice.pk)
    accepted(SEVEN, 1, visitor, "pending")
    accepted(SEVEN, 2, visitor, "rejected")
    return [
        accepted(THREE, 3, visitor),
        accepted(CROSS, None, visitor),
        accepted(SEVEN, 7, account),
        accepted({"image": io.BytesIO(encoded(FIVE))}, 5, account),
    ]


def wipe() -> None:
    Submission.objects.all().delete()


def content() -> list[tuple[bytes, int | None, Any]]:
    """Return the accepted pixels, labels and ink, sorted, without pressure and time of day."""
    rows = Correction.objects.filter(state="accepted").select_related("submission")
    return sorted(
        (bytes(row.submission.input), row.digit, row.submission.ink and timeless(row.submission.ink)) for row in rows
    )


def timeless(ink: dict[str, Any]) -> str:
    times = [point[2] for stroke in ink["strokes"] for point in stroke if len(point) > 2]
    strokes = [
        [[*point[:2], *(time - times[0] for time in point[2:3])] for point in stroke] for stroke in ink["strokes"]
    ]
    return json.dumps([strokes, ink["width"], ink["height"]])


# --- Out and in -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("idx", lambda row: (row[0], row[1], None) if row[1] is not None else None),
        ("npz", lambda row: (row[0], row[1], None)),
        ("png", lambda row: (row[0], row[1], None)),
        ("ndjson", lambda row: row if row[2] else None),
    ],
)
def test_export_and_import_preserve_data(
    site: list[Submission], tmp_path: Path, name: str, kept: Callable[[Any], Any]
) -> None:
    first, again = tmp_path / SUFFIXES[name], tmp_path / f"again.{name}"
    expected = sorted(row for row in map(kept, content()) if row)
    call_command("export_dataset", name, first)
    wipe()
    call_command("import_dataset", first)
    imported = content()
    call_command("export_dataset", name, again)
    wipe()
    call_command("import_dataset", again)

    assert imported == expected
    assert content() == expected


def test_export_command_counts_labels_and_left_out_drawings(
    site: list[Submission], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("export_dataset", "idx", tmp_path / "out.zip")
    idx = capsys.readouterr().out
    call_command("export_dataset", "ndjson", tmp_path / "out.ndjson")
    ndjson = capsys.readouterr().out

    assert (
        "3 drawings (0: 0, 1: 0, 2: 0, 3: 1," in idx
        and "Left out 1: idx cannot hold drawings that are not digits" in idx
    )
    assert "3 drawings" in ndjson and "Left out 1: ndjson cannot hold drawings without ink" in ndjson


def test_idx_export_has_mnist_format(site: list[Submission], tmp_path: Path) -> None:
    call_command("export_dataset", "idx", tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        images, labels = (_idx(archive.read(f"digits-{kind}-ubyte")) for kind in ("images-idx3", "labels-idx1"))

    assert images.shape == (3, 28, 28) and sorted(labels) == [3, 5, 7]
    assert {image.tobytes() for image in images} == {bytes(row.input) for row in site if row != site[1]}


def test_npz_export_is_loaded_by_numpy(site: list[Submission], tmp_path: Path) -> None:
    call_command("export_dataset", "npz", tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz", allow_pickle=False) as arrays:
        images, labels = arrays["images"], arrays["labels"]

    assert images.shape == (4, 28, 28) and images.dtype == np.uint8
    assert labels.dtype == np.int8 and sorted(labels) == [-1, 3, 5, 7]


def test_png_export_lists_answers_of_the_model(site: list[Submission], tmp_path: Path) -> None:
    Submission.objects.filter(pk=site[0].pk).update(digit=8)
    call_command("export_dataset", "png", tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        head, *lines = archive.read("labels.csv").decode().splitlines()

    assert head == "file,label,answer,model_version"
    assert "3,8,1" in {line.partition(",")[2] for line in lines}


def test_ndjson_export_has_quick_draw_format_with_relative_times(site: list[Submission], tmp_path: Path) -> None:
    call_command("export_dataset", "ndjson", tmp_path / "out.ndjson")
    rows = [json.loads(line) for line in (tmp_path / "out.ndjson").read_text().splitlines()]
    (other,) = (row for row in rows if row["word"] == "not a digit")

    assert sorted(row["word"] for row in rows) == ["3", "7", "not a digit"]
    assert other["drawing"] == [[[60, 160], [60, 220], [0, 20]], [[160], [60], [300]]]
    assert (other["width"], other["height"]) == (280, 280)
    assert set(other) == {"word", "drawing", "recognized", "width", "height"}


@pytest.mark.parametrize("name", FORMATS)
def test_export_contains_no_owner_and_no_time(site: list[Submission], tmp_path: Path, name: str) -> None:
    out = tmp_path / SUFFIXES[name]
    call_command("export_dataset", name, out)
    written = out.read_bytes()
    if zipfile.is_zipfile(out):
        with zipfile.ZipFile(out) as archive:
            written += b"".join(archive.read(member) for member in archive.namelist())
            assert {info.date_time[0] for info in archive.infolist()} == {1980}
    session = Submission.objects.exclude(session=None)[0].session
    assert session is not None

    for secret in (session.hex, str(session), "alice", str(site[0].created.year), str(EPOCH_MS)[:7]):
        assert secret.encode() not in written
    assert session.bytes not in written


def test_export_order_is_stable_and_not_by_creation(active_model: ModelVersion, tmp_path: Path) -> None:
    for left in range(40):
        accepted(body_of([[[0, 0], [left, 100]]]), left % 10, Owner(session=uuid.uuid4()))
    orders = []
    for name in ("a", "b"):
        call_command("export_dataset", "npz", tmp_path / name)
        with np.load(tmp_path / name) as arrays:
            orders.append(arrays["labels"].tolist())

    assert orders[0] == orders[1]
    assert sorted(orders[0]) == sorted(list(range(10)) * 4)
    assert orders[0] != list(range(10)) * 4


def test_deleted_drawing_is_not_exported(site: list[Submission], tmp_path: Path) -> None:
    site[0].delete()
    call_command("export_dataset", "npz", tmp_path / "out.npz")

    with np.load(tmp_path / "out.npz") as arrays:
        assert sorted(arrays["labels"]) == [-1, 5, 7]


def test_file_is_overwritten_only_with_force(site: list[Submission], tmp_path: Path) -> None:
    out = tmp_path / "out.npz"
    out.write_bytes(b"mine")
    with pytest.raises(CommandError, match="--force"):
        call_command("export_dataset", "npz", out)
    kept = out.read_bytes()
    call_command("export_dataset", "npz", out, "--force")

    assert kept == b"mine"
    assert zipfile.is_zipfile(out)
    assert list(tmp_path.iterdir()) == [out]


def test_failed_export_leaves_no_file(site: list[Submission], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.exchange.pictures.LIMITS", exchange.ExchangeLimits(pictures=3))
    with pytest.raises(CommandError, match="export npz or idx"):
        call_command("export_dataset", "png", tmp_path / "out.zip")
    with pytest.raises(CommandError, match="No such file"):
        call_command("export_dataset", "png", tmp_path / "nowhere" / "out.zip")

    assert list(tmp_path.iterdir()) == []


# --- Imports ----------------------------------------------------------------------------------------------------------


def npz(images: Any, labels: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, images=images, labels=labels)
    return buffer.getvalue()


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in files.items():
            archive.writestr(name, value)
    return buffer.getvalue()


def strokes(**changes: Any) -> bytes:
    row = {"word": "7", "drawing": [[[60, 200, 120], [60, 60, 240]]]} | changes
    return json.dumps(row).encode() + b"\n"


IMAGES = np.stack([FIVE[::10, ::10]] * 3)
IMAGES = 255 - IMAGES
IMAGES[1, 0, 0] = IMAGES[2, 0, 1] = 255
LABELS = np.array([5, -1, 0], np.int8)


def test_import_belongs_to_new_owner_and_is_accepted(
    active_model: ModelVersion, admin_user: User, tmp_path: Path
) -> None:
    (tmp_path / "in.npz").write_bytes(npz(IMAGES, LABELS))
    call_command("import_dataset", tmp_path / "in.npz", "--by", "boss")
    rows = Submission.objects.all()
    corrections = Correction.objects.all()

    assert {(row.account_id, row.ink, row.model_version_id) for row in rows} == {(None, None, active_model.pk)}
    assert len({row.session for row in rows}) == 1
    assert {row.session for row in rows} == {correction.session for correction in corrections}
    assert {(row.state, row.triage, row.decided_by_id) for row in corrections} == {
        ("accepted", "import", admin_user.pk)
    }
    assert all(row.decided for row in corrections)


def test_second_import_has_new_owner_and_skips_stored_drawings(
    active_model: ModelVersion, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "first.npz").write_bytes(npz(IMAGES[:2], LABELS[:2]))
    (tmp_path / "more.npz").write_bytes(npz(IMAGES[[0, 1, 2, 2, 0]], np.array([5, -1, 0, 0, 6])))
    call_command("import_dataset", tmp_path / "first.npz")
    capsys.readouterr()
    call_command("import_dataset", tmp_path / "more.npz")

    assert "Skipped 3 that were already stored" in capsys.readouterr().out
    assert sorted(row[1] if row[1] is not None else -1 for row in content()) == [-1, 0, 5, 6]
    assert Submission.objects.values("session").distinct().count() == 2


def test_zip_of_mnist_gzip_files_is_imported(active_model: ModelVersion, tmp_path: Path) -> None:
    header = bytes([0, 0, 8, 3]) + np.array(IMAGES.shape, ">u4").tobytes()
    images, labels = header + IMAGES.tobytes(), bytes([0, 0, 8, 1, 0, 0, 0, 3, 5, 1, 0])
    files = {"t10k-images-idx3-ubyte.gz": gzip.compress(images), "t10k-labels-idx1-ubyte.gz": gzip.compress(labels)}
    (tmp_path / "mnist.zip").write_bytes(zipped(**files))
    call_command("import_dataset", tmp_path / "mnist.zip")

    assert sorted(row[1] for row in content() if row[1] is not None) == [0, 1, 5]


def test_quick_draw_lines_need_no_surface(active_model: ModelVersion, tmp_path: Path) -> None:
    lines = strokes(key_id="1", countrycode="IS", timestamp="2017", recognized=True) + b"\n"
    (tmp_path / "in.ndjson").write_bytes(lines + strokes(drawing=[[[0, 900], [0, 1800], [0, 5]]]))
    call_command("import_dataset", tmp_path / "in.ndjson")
    surfaces = [(row.ink["width"], row.ink["height"]) for row in Submission.objects.order_by("id") if row.ink]

    assert surfaces == [(256, 256), (900, 1800)]


def test_interrupted_import_is_rolled_back(active_model: ModelVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.exchange.incoming.BATCH", 1)

    def interrupt(done: int, total: int) -> None:
        assert Submission.objects.count() == 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_dataset(io.BytesIO(npz(IMAGES, LABELS)), progress=interrupt)
    assert not Submission.objects.exists()


def test_large_drawings_are_imported_in_small_batches(
    active_model: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.exchange.incoming.POINTS", 100)
    drawn = [[[start + 10 * step for step in range(25)], [50] * 25] for start in range(4)]
    file = b"".join(strokes(drawing=[stroke, stroke]) for stroke in drawn)
    done: list[int] = []

    import_dataset(io.BytesIO(file), progress=lambda count, total: done.append(count))

    assert done == [2, 4]  # two of 50 points each, and two


# --- Hostile files ----------------------------------------------------------------------------------------------------

GOOD_IDX = {
    "a-images-idx3-ubyte": bytes([0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 28, 0, 0, 0, 28]) + IMAGES.tobytes(),
    "a-labels-idx1-ubyte": bytes([0, 0, 8, 1, 0, 0, 0, 3, 5, 1, 0]),
}
GOOD_PNG = {"labels.csv": b"file,label\n5.png,5\n", "5.png": encoded(IMAGES[0])}
HUGE = bytes([0, 0, 8, 3, 255, 255, 255, 255, 0, 0, 0, 28, 0, 0, 0, 28])
HUGE_LABELS = bytes([0, 0, 8, 1, 255, 255, 255, 255])


def npy(descr: str, shape: str, data: bytes = b"") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


def damaged(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(255 - byte for byte in content[middle : middle + 20]) + content[middle + 20 :]


def encrypted() -> bytes:
    content = bytearray(zipped(**GOOD_PNG))
    for sign, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(sign) + flags] |= 1
    return bytes(content)


def pickled() -> bytes:
    return npz(np.array([object.__doc__, None], object), LABELS)


def by_name(name: str) -> bytes:
    return zipped(**GOOD_PNG, **{name: b"x"})


HOSTILE: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "something else": lambda: b"GIF89a" + bytes(2000),
    "an empty zip": lambda: zipped(),
    "a zip of other files": lambda: zipped(**{"readme.txt": b"hello"}),
    "a zip cut short": lambda: npz(IMAGES, LABELS)[:-30],
    "a zip with a hole": lambda: damaged(npz(IMAGES, LABELS)),
    "an encrypted zip": encrypted,
    "a path upwards": lambda: by_name("../../etc/passwd"),
    "an absolute path": lambda: by_name("/etc/passwd"),
    "a path of Windows": lambda: by_name("..\\evil.png"),
    "a drive": lambda: by_name("C:evil.png"),
    "idx: other magic": lambda: zipped(**GOOD_IDX | {"a-labels-idx1-ubyte": bytes([0, 0, 13, 1, 0, 0, 0, 0])}),
    "idx: a huge header": lambda: zipped(**{"images-idx3-ubyte": HUGE, "labels-idx1-ubyte": HUGE_LABELS}),
    "idx: no data": lambda: zipped(**GOOD_IDX | {"a-images-idx3-ubyte": GOOD_IDX["a-images-idx3-ubyte"][:16]}),
    "idx: data too many": lambda: zipped(**GOOD_IDX | {"a-images-idx3-ubyte": GOOD_IDX["a-images-idx3-ubyte"] + b"\0"}),
    "idx: other sizes": lambda: zipped(
        **GOOD_IDX | {"a-images-idx3-ubyte": bytes([0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 14, 0, 0, 0, 56])}
    ),
    "idx: a label of ten": lambda: zipped(
        **GOOD_IDX | {"a-labels-idx1-ubyte": bytes([0, 0, 8, 1, 0, 0, 0, 3, 5, 1, 10])}
    ),
    "idx: no labels": lambda: zipped(**{"a-images-idx3-ubyte": GOOD_IDX["a-images-idx3-ubyte"]}),
    "idx: two of a kind": lambda: zipped(**GOOD_IDX, **{"b-labels-idx1-ubyte": b"\0"}),
    "idx: a false gzip": lambda: zipped(
        **{"images-idx3-ubyte.gz": b"no gzip", "labels-idx1-ubyte": GOOD_IDX["a-labels-idx1-ubyte"]}
    ),
    "idx: a bomb": lambda: zipped(
        **GOOD_IDX | {"a-images-idx3-ubyte": GOOD_IDX["a-images-idx3-ubyte"] + bytes(10_000_000)}
    ),
    "npz: a pickle": pickled,
    "npz: a number of thousands of digits": lambda: zipped(
        **{"images.npy": npy("'|u1'", f"(1{'0' * 4000}, 28, 28)"), "labels.npy": npy("'|i1'", f"(1{'0' * 4000},)")}
    ),
    "npz: a huge header": lambda: zipped(
        **{"images.npy": npy("'|u1'", "(10**12, 28, 28)"), "labels.npy": npy("'|i1'", "(10**12,)")}
    ),
    "npz: a huge number": lambda: zipped(
        **{
            "images.npy": npy("'|u1'", "(1000000000000, 28, 28)"),
            "labels.npy": npy("'|i1'", "(1000000000000,)"),
        }
    ),
    "npz: a negative number": lambda: zipped(
        **{"images.npy": npy("'|u1'", "(-1, 28, 28)"), "labels.npy": npy("'|i1'", "(-1,)")}
    ),
    "npz: code for a header": lambda: zipped(
        **{"images.npy": npy("__import__('os').abort()", "()"), "labels.npy": npy("'|i1'", "(0,)")}
    ),
    "npz: nested brackets": lambda: zipped(**{"images.npy": npy("(" * 9000, "()"), "labels.npy": b""}),
    "npz: floats": lambda: npz(IMAGES / 255, LABELS),
    "npz: labels of floats": lambda: npz(IMAGES, LABELS.astype(float)),
    "npz: a row short": lambda: npz(IMAGES, LABELS[:2]),
    "npz: 32 pixels": lambda: npz(np.ones((3, 32, 32), np.uint8), LABELS),
    "npz: flat": lambda: npz(IMAGES.reshape(3, 784), LABELS),
    "npz: Fortran's order": lambda: npz(np.asfortranarray(IMAGES), LABELS),
    "npz: a label of ten": lambda: npz(IMAGES, np.array([5, 1, 10])),
    "npz: a label of minus two": lambda: npz(IMAGES, np.array([5, 1, -2])),
    "npz: an image without ink": lambda: npz(IMAGES * np.array([1, 1, 0], np.uint8)[:, None, None], LABELS),
    "npz: no rows": lambda: npz(IMAGES[:0], LABELS[:0]),
    "npz: no labels": lambda: zipped(**{"images.npy": npy("'|u1'", "(0, 28, 28)")}),
    "png: no such picture": lambda: zipped(**GOOD_PNG | {"labels.csv": b"file,label\n5.png,5\n6.png,6\n"}),
    "png: other columns": lambda: zipped(**GOOD_PNG | {"labels.csv": b"name,digit\n5.png,5\n"}),
    "png: a line too short": lambda: zipped(**GOOD_PNG | {"labels.csv": b"file,label\n5.png\n"}),
    "png: a label of ten": lambda: zipped(**GOOD_PNG | {"labels.csv": b"file,label\n5.png,5\n5.png,10\n"}),
    "png: a label in words": lambda: zipped(**GOOD_PNG | {"labels.csv": b"file,label\n5.png,five\n"}),
    "png: a table in another code": lambda: zipped(**GOOD_PNG | {"labels.csv": b"file,label\n\xff\xfe.png,5\n"}),
    "png: an open quote": lambda: zipped(**GOOD_PNG | {"labels.csv": b'file,label\n"5.png,5\n'}),
    "png: a field without end": lambda: zipped(**GOOD_PNG | {"labels.csv": b"file,label\n" + b"a" * 200_000}),
    "png: a table too large": lambda: zipped(**GOOD_PNG | {"labels.csv": b"file,label\n" + bytes(40_000_000)}),
    "png: a column a byte": lambda: zipped(**GOOD_PNG | {"labels.csv": b"file,label\n5.png,5" + b"," * 1_000_000}),
    "png: a heading a byte": lambda: zipped(**GOOD_PNG | {"labels.csv": b"file,label" + b"," * 1_000_000}),
    "png: an empty table": lambda: zipped(**GOOD_PNG | {"labels.csv": b""}),
    "png: a JPEG": lambda: zipped(**GOOD_PNG | {"5.png": encoded(IMAGES[0], "JPEG")}),
    "png: colours": lambda: zipped(**GOOD_PNG | {"5.png": encoded(np.stack([IMAGES[0]] * 3, axis=2))}),
    "png: other sizes": lambda: zipped(**GOOD_PNG | {"5.png": encoded(FIVE)}),
    "png: cut short": lambda: zipped(**GOOD_PNG | {"5.png": encoded(IMAGES[0])[:-30]}),
    "png: a large file": lambda: zipped(**GOOD_PNG | {"5.png": encoded(IMAGES[0]) + bytes(20_000)}),
    "ndjson: no JSON": lambda: strokes() + b'{"word": "7", "drawing": NaN}\n',
    "ndjson: a long line": lambda: strokes() + b'{"word": "' + b"7" * 3_000_000,
    "ndjson: deep": lambda: strokes() + b'{"word": ' + b"[" * 100_000,
    "ndjson: another word": lambda: strokes() + strokes(word="cat"),
    "ndjson: a number for a word": lambda: strokes() + strokes(word=7),
    "ndjson: a list for a word": lambda: strokes() + strokes(word=["7"]),
    "ndjson: no drawing": lambda: strokes() + b'{"word": "7"}\n',
    "ndjson: a drawing of text": lambda: strokes() + strokes(drawing="7"),
    "ndjson: columns of text": lambda: strokes() + strokes(drawing=[["12", "34"]]),
    "ndjson: columns of other lengths": lambda: strokes() + strokes(drawing=[[[1, 2], [1]]]),
    "ndjson: points, not columns": lambda: strokes() + strokes(drawing=[[[1, 2], [3, 4], [5, 6], [7, 8]]]),
    "ndjson: truth for a number": lambda: strokes() + strokes(drawing=[[[True, False], [1, 2]]]),
    "ndjson: null for a number": lambda: strokes() + strokes(drawing=[[[None], [1]]]),
    "ndjson: objects for columns": lambda: strokes() + strokes(drawing=[[{"a": 1}, {"b": 1}]]),
    "ndjson: far away": lambda: strokes() + strokes(drawing=[[[1e300], [1]]]),
    "ndjson: far off the surface": lambda: strokes() + strokes(width=10, height=10),
    "ndjson: a surface of none": lambda: strokes() + strokes(width=None),
    "ndjson: no ink": lambda: strokes() + strokes(drawing=[]),
    "ndjson: strokes without points": lambda: strokes() + strokes(drawing=[[[], []]]),
    "ndjson: too many points": lambda: strokes() + strokes(drawing=[[[1] * 20_000] * 2]),
    "ndjson: a list": lambda: strokes() + b"[1, 2]\n",
    "ndjson: then bytes": lambda: strokes() + b"\xff\xfe\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file_gives_one_clear_error_and_stores_nothing(tmp_path: Path, name: str) -> None:
    """Refused before a model is needed: there is none in this test."""
    (tmp_path / "in").write_bytes(HOSTILE[name]())
    with pytest.raises(CommandError) as error:
        call_command("import_dataset", tmp_path / "in")

    assert "\n" not in str(error.value) and len(str(error.value)) < 400
    assert str(error.value).endswith("Nothing was stored.") and "model" not in str(error.value)
    assert not Submission.objects.exists() and not Correction.objects.exists()


def test_zip_of_too_many_files_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.exchange.archives.LIMITS", exchange.ExchangeLimits(pictures=1000))
    files = {f"other/{number}.png": b"" for number in range(2000)}

    with pytest.raises(ExchangeError, match="more than 1,000 files"):
        import_dataset(io.BytesIO(zipped(**GOOD_PNG, **files)))


@given(data=st.data(), form=st.sampled_from(["idx", "npz", "png", "ndjson"]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_corrupted_file_is_imported_or_refused(active_model: ModelVersion, data: st.DataObject, form: str) -> None:
    good = {"idx": zipped(**GOOD_IDX), "npz": npz(IMAGES, LABELS), "png": zipped(**GOOD_PNG), "ndjson": strokes()}
    content = bytearray(good[form])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    before = Submission.objects.count()
    try:
        import_dataset(io.BytesIO(bytes(content)), FORMATS[form])
    except ExchangeError:
        assert Submission.objects.count() == before


def test_import_without_model_stores_nothing(db: None, tmp_path: Path) -> None:
    (tmp_path / "in.npz").write_bytes(npz(IMAGES, LABELS))

    with pytest.raises(CommandError, match="no active model"):
        call_command("import_dataset", tmp_path / "in.npz")


@pytest.mark.parametrize(("arguments", "said"), [(["nowhere"], "No file"), (["in", "--by", "eve"], "No account")])
def test_invalid_argument_gives_one_line_error(db: None, tmp_path: Path, arguments: list[str], said: str) -> None:
    (tmp_path / "in").write_bytes(b"")

    with pytest.raises(CommandError, match=said):
        call_command("import_dataset", tmp_path / arguments[0], *arguments[1:])


# --- The admin's page -------------------------------------------------------------------------------------------------


@pytest.fixture
def admin_browser(admin_user: User, active_model: ModelVersion) -> Client:
    client = Client()
    client.force_login(admin_user)
    return client


def upload(client: Client, content: bytes) -> str:
    file = SimpleUploadedFile("digits", content)
    return client.post("/admin/data/", {"file": file}, follow=True).content.decode()


@pytest.mark.parametrize("name", FORMATS)
def test_staff_download_and_upload(site: list[Submission], admin_browser: Client, name: str) -> None:
    before = {row[:2] for row in content()}
    response: Any = admin_browser.get(f"/admin/data/{name}")
    file = b"".join(response.streaming_content)
    wipe()
    page = upload(admin_browser, file)

    assert response.headers["Content-Disposition"].endswith(f'-{name}.{FORMATS[name].suffix}"')
    assert "Stored" in page
    assert {row[:2] for row in content()} <= before and content()
    assert set(Correction.objects.values_list("decided_by__username", flat=True)) == {"boss"}


def test_data_page_is_linked_and_counts_drawings(site: list[Submission], admin_browser: Client) -> None:
    assert 'href="/admin/data/"' in admin_browser.get("/admin/").content.decode()
    page = admin_browser.get("/admin/data/").content.decode()

    assert "The 4 drawings with accepted labels" in page
    assert all(f'href="/admin/data/{name}"' in page for name in FORMATS)
    assert admin_browser.get("/admin/data/other").status_code == 404


def test_failed_download_says_why(
    site: list[Submission], admin_browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.exchange.pictures.LIMITS", exchange.ExchangeLimits(pictures=3))

    assert "export npz or idx" in admin_browser.get("/admin/data/png", follow=True).content.decode()


@pytest.mark.parametrize("name", ["npz: a pickle", "ndjson: no JSON", "nothing"])
def test_hostile_upload_shows_error(admin_browser: Client, name: str) -> None:
    page = upload(admin_browser, HOSTILE[name]())

    assert "errorlist" in page
    assert not Submission.objects.exists()


def test_upload_limit_is_lower_than_command_limit(admin_browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.admin.data.LIMITS", exchange.ExchangeLimits(uploaded_rows=2))

    assert "more than 2 drawings" in upload(admin_browser, npz(IMAGES, LABELS))
    assert not Submission.objects.exists()


@pytest.mark.parametrize("address", ["/admin/data/", "/admin/data/npz"])
def test_others_are_redirected_to_login(visitor: Visitor, alice: User, address: str) -> None:
    member = Client()
    member.force_login(alice)

    for client in (visitor, member):
        assert client.get(address).headers["Location"].startswith("/admin/login/")
        assert client.post(address, {"file": io.BytesIO(npz(IMAGES, LABELS))}).status_code == 302
    assert not Submission.objects.exists()


def test_upload_requires_csrf_token(admin_user: User, active_model: ModelVersion) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)

    assert client.post("/admin/data/", {"file": io.BytesIO(npz(IMAGES, LABELS))}).status_code == 403
    assert not Submission.objects.exists()
