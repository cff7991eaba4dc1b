"""Jobs of many photos: their sources, what is unusual, stop and continue."""

import os
import zipfile

import pytest
from PIL import Image

from nutrition_vl.models.checkpoints import DEMO
from nutrition_vl.page.job import folder_inside, kinds, new_job, uncertainty, unique_names, unpack
from nutrition_vl.page.queue import DetectionQueue

EXAMPLES = DEMO / "examples"


@pytest.fixture
def uploads(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    (tmp_path / "uploads").mkdir()
    return tmp_path / "uploads"


@pytest.fixture
def archive(uploads):
    """A zip of three photos, one of them broken, and a text."""
    file = uploads / "photos.zip"
    with zipfile.ZipFile(file, "w") as pack:
        for name in ("pack_1.jpg", "pack_6.jpg"):
            small = uploads / name
            Image.open(EXAMPLES / name).resize((150, 200)).save(small)
            pack.write(small, f"shop/{name}")
        pack.writestr("shop/broken.jpg", "not a photo")
        pack.writestr("shop/notes.txt", "hello")
    return file


def box(confidence, left=0):
    return {"xyxy": [left, 0, left + 10, 10], "label": "nutrition-table", "confidence": confidence}


def test_photos_of_a_zip_keep_their_names(uploads, archive):
    job = new_job([str(archive)], None, ["demo"])
    assert list(job.photos) == ["shop/broken.jpg", "shop/pack_1.jpg", "shop/pack_6.jpg"]


@pytest.mark.parametrize("content", [b"no zip", b"PK\x03\x04"])
def test_a_broken_zip_is_one_sentence(uploads, content):
    (uploads / "a.zip").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.zip cannot be unpacked"):
        new_job([str(uploads / "a.zip")], None, ["demo"])


def test_a_zip_that_explodes_is_refused_before_it_is_unpacked(uploads, archive, monkeypatch):
    monkeypatch.setattr("nutrition_vl.page.job.MOST_UNPACKED", 1000)
    with pytest.raises(ValueError, match="unpacks to"):
        unpack(archive, uploads)


def test_files_of_this_machine_are_no_uploads(uploads):
    with pytest.raises(ValueError, match="was not uploaded"):
        new_job([str(EXAMPLES / "pack_1.jpg")], None, ["demo"])


@pytest.mark.parametrize("name", ["..", "../other", "/etc", "missing"])
def test_a_folder_lies_below_the_root(tmp_path, name):
    root = tmp_path / "photos"
    root.mkdir()
    (tmp_path / "other").mkdir()
    with pytest.raises(ValueError, match="there is no folder"):
        folder_inside(root, name)


def test_a_name_in_bytes_that_are_no_text_is_shown_in_letters(tmp_path):
    assert [*unique_names([(os.fsdecode(b"lat\xe9.jpg"), tmp_path)])] == [r"lat\udce9.jpg"]


def test_photos_of_one_name_are_numbered(tmp_path):
    named = [("a.jpg", tmp_path / "1"), ("a.jpg", tmp_path / "2"), ("a-2.jpg", tmp_path / "3")]
    assert list(unique_names(named)) == ["a.jpg", "a-2.jpg", "a-2-2.jpg"]


@pytest.mark.parametrize(
    ("answers", "wanted"),
    [
        ([[box(0.9)]], set()),
        ([[]], {"no table"}),
        ([[box(0.9), box(0.5, 20)]], {"several tables", "low confidence"}),
        ([[box(0.9)], [box(0.9, 50)]], {"adapters disagree"}),
        ([[box(0.9)], []], {"adapters disagree"}),
    ],
)
def test_what_is_unusual_about_a_photo(answers, wanted):
    assert kinds([{"boxes": boxes} for boxes in answers]) == wanted
    assert kinds([{"boxes": answers[0]}, {"error": "broken"}]) == {"errors"}


def test_disagreement_and_low_confidence_teach_most():
    agreed, low, split = [[box(0.9)]], [[box(0.5)]], [[box(0.9)], []]
    order = [uncertainty([{"boxes": b} for b in answers]) for answers in (split, low, agreed)]
    assert order == sorted(order, reverse=True)


def test_a_stopped_job_goes_on_where_it_was(uploads, archive, demo):
    queue = DetectionQueue(demo)
    job = new_job([str(archive)], None, ["demo"])
    running = job.run(queue)
    while next(running) < 1:
        pass
    running.close()
    first = dict(job.answers)
    for _ in job.run(queue):
        pass
    queue.close()
    assert job.left() == []
    assert all(job.answers[name] is answers for name, answers in first.items() if answers)
    assert "is not a photo" in job.records(0)[0]["error"]
    photo = Image.open(job.photos["shop/pack_1.jpg"])
    alone = demo.detect([photo], adapter="demo")[0].record(photo.size)
    assert job.records(0)[1]["boxes"] == alone["boxes"]
