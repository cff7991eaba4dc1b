"""Sources, results and mistakes of the batch command, without Ray; and its child processes."""

import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec.config
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eval.predictions.predictions import Truth
from eval.predictions.read import read
from nutrition_vl.batch import places
from nutrition_vl.batch.__main__ import _description, main, parser
from nutrition_vl.batch.child import Child
from nutrition_vl.batch.pipeline import _read
from nutrition_vl.batch.results import SCHEMA, Results
from nutrition_vl.batch.source import list_photos, read_photo, require_own_crops
from nutrition_vl.batch.work import Answer, Prepare
from nutrition_vl.models.checkpoints import DEMO
from tests.helpers.broken_decoder.sitecustomize import MARK
from tests.helpers.packs import draw
from tests.helpers.people import nobody

ROOT = Path(__file__).parents[3]
BOX = {"xyxy": [1.0, 2.0, 30.0, 40.0], "label": "nutrition-table", "confidence": 0.9}
RUN = {"checkpoint": {"a": "1"}, "threshold": 0.4}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two packs, the second in a folder of its own, and a text."""
    folder = draw(tmp_path_factory.mktemp("source") / "photos", 2, broken=0)
    (folder / "more").mkdir()
    (folder / "pack_0001.jpg").rename(folder / "more" / "pack_0001.jpg")
    (folder / "notes.md").write_text("no photo")
    return folder


def names(source, column=None):
    return [Path(photo["photo"]).name for photo in list_photos(str(source), column)]


def row(name, boxes=(BOX,), error=None):
    answer = {"width": 100, "height": 80, "boxes": list(boxes), "text": "…", "seconds": 0.1}
    answer = answer if error is None else {"error": error}
    return {"photo": name, "checkpoint": "demo", "adapter": "demo", "threshold": 0.4} | answer


def as_table(*rows):
    return pa.Table.from_pylist(list(rows), SCHEMA)


@pytest.fixture
def results(tmp_path):
    """A finished run with two photos, one of them unread."""
    results = Results(str(tmp_path / "out"))
    results.begin(RUN, {})
    results.add(as_table(row("a/pack0.jpg"), row("b.jpg", error="b.jpg is not a photo")))
    results.finish(RUN)
    return results


BOTH = ["pack_0000.jpg", "pack_0001.jpg"]


@pytest.mark.parametrize("form", ["folder", "glob", "list", "coco", "url", "paths in parquet"])
def test_every_source_lists_its_photos(form, photos, tmp_path):
    files = sorted(map(str, photos.rglob("*.jpg")), key=os.path.basename)
    (tmp_path / "list.txt").write_text("\n".join([*files, "", ""]))
    images = [{"id": n, "file_name": os.path.relpath(file, photos)} for n, file in enumerate(files)]
    (photos / "coco.json").write_text(json.dumps({"images": images}))
    pq.write_table(pa.table({"file": files}), tmp_path / "paths.parquet")
    sources = {
        "folder": photos,
        "glob": photos / "**" / "*.jpg",
        "list": tmp_path / "list.txt",
        "coco": photos / "coco.json",
        "url": f"file://{photos}",
    }
    listed = names(sources.get(form, tmp_path), None if form in sources else "file")
    assert sorted(listed) == BOTH


def test_bytes_in_parquet_are_read_group_by_group(photos, tmp_path):
    files = sorted(photos.rglob("*.jpg")) * 2
    column = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
    pq.write_table(pa.table({"image": column}), tmp_path / "packs.parquet", row_group_size=3)
    listed = list_photos(str(tmp_path / "packs.parquet"), "image")
    assert [one["photo"] for one in listed] == [f"{tmp_path}/packs.parquet#{n}" for n in range(4)]
    assert [(one["group"], one["row"]) for one in listed] == [(0, 0), (0, 1), (0, 2), (1, 0)]
    assert [read_photo(one) for one in listed] == [file.read_bytes() for file in files]


NAMES = (b"latin\xe9.jpg", b"a::b.jpg", b"[1].jpg", b"new\nline.jpg", b"hash#?%20.jpg")


def test_a_folder_and_its_photos_may_have_any_names(tmp_path):
    folder = tmp_path / "photos [2026]"
    folder.mkdir()
    for name in NAMES:
        (folder / os.fsdecode(name)).write_bytes(name)
    listed = list_photos(str(folder))
    table = pa.Table.from_pylist(listed)  # as Ray makes of them
    assert sorted(map(read_photo, table.to_pylist())) == sorted(NAMES)
    assert f"{folder}/latin\\udce9.jpg" in table["photo"].to_pylist()


def test_a_list_may_name_photos_in_bytes_that_are_no_text(tmp_path):
    photo = tmp_path / os.fsdecode(NAMES[0])
    photo.write_bytes(b"photo")
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbf" + os.fsencode(photo) + b"\r\n")
    (listed,) = list_photos(str(tmp_path / "list.txt"))
    assert read_photo(listed) == b"photo"


def test_rows_of_a_table_have_crops_of_their_own(tmp_path):
    files = [(DEMO / "examples" / f"pack_{n}.jpg").read_bytes() for n in (1, 2)]
    pq.write_table(pa.table({"image": files}), tmp_path / "packs.parquet")
    listed = list_photos(str(tmp_path / "packs.parquet"), "image")
    require_own_crops(listed)
    rows = [{"photo": one["photo"], "file": read_photo(one)} for one in listed]
    prepared = Prepare("demo", "demo", "float32")(rows)
    work = Answer("demo", "demo", 0.4, str(tmp_path / "crops"), "cpu")
    work([row | more for row, more in zip(rows, prepared, strict=True)])
    crops = sorted(file.name for file in (tmp_path / "crops").rglob("*.jpg"))
    assert crops == [f"packs.parquet#{n}_table_1.jpg" for n in (0, 1)]


def test_crops_of_two_photos_have_names_of_their_own(tmp_path, capsys):
    for name in ("a.jpg", "a.png", "b.jpg"):
        (tmp_path / name).write_bytes(b"photo")
    assert main([str(tmp_path), "--out", str(tmp_path / "out"), "--crops", "crops"]) == 2
    words = f"the crops of {tmp_path}/a.jpg and {tmp_path}/a.png would have one name: rename"
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_photo_that_is_gone_is_named_as_stream_names_it(tmp_path):
    (tmp_path / "list.txt").write_text("gone.jpg\n")
    (photo,) = list_photos(str(tmp_path / "list.txt"))
    with pytest.raises(FileNotFoundError, match=r"^there is no photo gone\.jpg$"):
        read_photo(photo)


@pytest.fixture
def server(photos):
    """A server on loopback: one photo, one page that breaks, one that never comes, nothing else."""
    end = threading.Event()

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/slow.jpg":
                end.wait()
            statuses = {"/good.jpg": 200, "/broken.jpg": 500}
            self.send_response(statuses.get(self.path, 404))
            self.end_headers()
            if self.path == "/good.jpg":
                self.wfile.write((photos / "pack_0000.jpg").read_bytes())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as pages:
        threading.Thread(target=pages.serve_forever).start()
        yield f"http://127.0.0.1:{pages.server_port}"
        end.set()
        pages.shutdown()


def test_urls_of_a_server_are_photos_and_each_failure_is_its_rows_alone(
    server, photos, tmp_path, monkeypatch
):
    monkeypatch.setattr(places, "TIMEOUT", 1)
    names = ("good", "gone", "broken", "slow")
    (tmp_path / "list.txt").write_text("".join(f"{server}/{name}.jpg\n" for name in names))
    good, *failures = map(_read, list_photos(str(tmp_path / "list.txt")))
    content = (photos / "pack_0000.jpg").read_bytes()
    assert good == {"photo": f"{server}/good.jpg", "file": content}
    gone, broken, slow = [one["error"] for one in failures]
    assert gone == f"there is no photo {server}/gone.jpg"
    assert broken.startswith(f"{server}/broken.jpg cannot be opened: 500")
    assert slow == f"{server}/slow.jpg has not come within 1 s: try it again later"


def test_a_google_bucket_without_its_package_or_credentials_is_one_sentence(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "gcsfs", None)
        with pytest.raises(ValueError, match=r"^gs://packs/x needs a package: .*gcsfs"):
            list_photos("gs://packs/x")
    pytest.importorskip("gcsfs")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere.json")
    monkeypatch.setitem(fsspec.config.conf, "gs", {"token": "google_default"})
    with pytest.raises(ValueError, match=r"^gs://packs/x cannot be opened: .*/nowhere\.json"):
        list_photos("gs://packs/x")


def sentence(capsys, *words):
    """The one line on stderr of a command that cannot start."""
    assert main([str(word) for word in words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line.removeprefix("nutrition_vl.batch: ")


def test_options_without_a_target_are_one_sentence(photos, tmp_path, capsys):
    assert sentence(capsys, photos).startswith("say where to write: --out DIR")
    assert "choose from coco" in sentence(capsys, tmp_path, "--to", "xml", tmp_path / "file")
    line = sentence(capsys, photos, "--to", "csv", tmp_path / "file")
    assert line.startswith(f"{photos} has no manifest.json")


def test_a_source_that_cannot_be_listed_is_one_sentence(photos, tmp_path, capsys):
    out = tmp_path / "out"
    (tmp_path / "empty").mkdir()
    gone, empty = tmp_path / "gone", tmp_path / "empty"
    assert sentence(capsys, gone, "--out", out) == f"there is no {gone}: check the name"
    assert sentence(capsys, empty, "--out", out).startswith(f"there is no photo in {empty}: give")
    coco = tmp_path / "coco.json"
    coco.write_text("[]")
    assert sentence(capsys, coco, "--out", out).startswith(f"{coco} is no COCO file")
    pq.write_table(pa.table({"file": ["a.jpg"]}), tmp_path / "paths.parquet")
    paths = tmp_path / "paths.parquet"
    assert "--column" in sentence(capsys, paths, "--out", out)
    assert "choose from file" in sentence(capsys, paths, "--out", out, "--column", "image")
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o700)
    os.chmod(tmp_path, 0o755)
    with nobody():
        line = sentence(capsys, locked, "--out", out)
    assert "may not be opened" in line or "may not be read" in line
    assert not out.exists()


def test_a_cluster_that_is_not_there_is_one_sentence(photos, tmp_path, capsys):
    pytest.importorskip("ray")
    words = (photos, "--out", tmp_path / "out")
    line = sentence_at_end(capsys, *words, "--address", "127.0.0.1:9")
    assert line.startswith("nutrition_vl.batch: there is no Ray cluster at 127.0.0.1:9: start one")


def test_gpus_that_are_not_there_are_one_sentence(photos, tmp_path, capsys):
    pytest.importorskip("ray")
    words = (photos, "--out", tmp_path / "out", "--gpus-per-worker")
    assert "this machine has no 9 GPUs for a worker" in sentence_at_end(capsys, *words, "9")
    for share in ("1.5", "-1", "nan", "half"):
        with pytest.raises(SystemExit):
            main([str(word) for word in (*words, share)])
        assert f"give a share of a GPU or a number of GPUs, not {share}" in capsys.readouterr().err


def sentence_at_end(capsys, *words):
    """The last line on stderr, after the progress bar."""
    assert main([str(word) for word in words]) == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_another_run_in_the_folder_is_refused_and_kept(photos, tmp_path, capsys):
    results, run = Results(str(tmp_path / "out")), RUN
    results.begin(run, {"commit": "c"})
    results.begin(run, {"commit": "another is fine"})
    with pytest.raises(ValueError, match=r"out holds a run with another threshold: choose"):
        results.begin(run | {"threshold": 0.5}, {})
    line = sentence(capsys, photos, "--out", tmp_path / "out")
    assert "holds a run with another checkpoint, adapter, prompt" in line
    assert results.manifest() == run | {"commit": "c"}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    assert "has no manifest.json" in sentence(capsys, photos, "--out", tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_a_full_disk_names_the_part_and_loses_none(results, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    usual = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError) as raised:
            results.add(as_table(*[row(f"{number}.jpg") for number in range(500)]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, usual)
    assert raised.value.filename.startswith(str(tmp_path / "out" / "part-"))
    assert results.photos() == {"a/pack0.jpg", "b.jpg"}


def test_a_photo_in_two_parts_keeps_one_row(results):
    results.add(as_table(row("b.jpg"), row("c.jpg", boxes=())))
    results.add(as_table(row("c.jpg"), row("a/pack0.jpg")))
    counts = results.finish(RUN)
    assert sorted(one["photo"] for one in results.rows()) == ["a/pack0.jpg", "b.jpg", "c.jpg"]
    assert counts["photos"] == 3
    assert results.manifest() == RUN | counts


def test_a_finished_run_needs_neither_ray_nor_a_photo(photos, tmp_path):
    """Every photo has a row, and none can be opened any more."""
    source = tmp_path / "photos"
    shutil.copytree(photos, source)
    words = [str(source), "--out", str(tmp_path / "out")]
    results = Results(str(tmp_path / "out"))
    results.begin(*_description(parser().parse_args(words)))
    results.add(as_table(*[row(photo["photo"]) for photo in list_photos(str(source))]))
    for photo in source.rglob("*.jpg"):
        photo.write_bytes(b"")
    script = f"""
import sys
from nutrition_vl.batch.__main__ import main
assert main({words}) == 0
assert not {{"ray", "torch"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (
        f"{tmp_path / 'out'}: 2 photos, 0 of them without a table, 0 unread; 2 were" in done.stderr
    )
    assert results.finished and results.manifest()["photos"] == 2


def test_the_source_may_grow_and_its_doubles_are_counted(photos, tmp_path, capsys):
    files = sorted(map(str, photos.rglob("*.jpg")))
    (tmp_path / "list.txt").write_text("\n".join([*files, files[0]]))
    words = [str(tmp_path / "list.txt"), "--out", str(tmp_path / "out")]
    results = Results(str(tmp_path / "out"))
    results.begin(*_description(parser().parse_args(words)))
    results.add(as_table(*map(row, files)))
    assert main(words) == 0
    assert capsys.readouterr().err.endswith("1 are in the source more than once\n")
    assert results.manifest()["listed_again"] == 1


@pytest.mark.parametrize(("form", "sign"), [("coco", '"score": 0.9'), ("csv", "pack0.jpg,nutr")])
def test_results_are_exported(form, sign, results, tmp_path, capsys):
    assert main([str(tmp_path / "out"), "--to", form, str(tmp_path / "file")]) == 0
    assert sign in (tmp_path / "file").read_text()
    assert capsys.readouterr().out == f"{tmp_path / 'file'}: 2 photos\n"


def test_results_are_scored(results, tmp_path):
    truths = [Truth("pack0", 100, 80, [[1, 2, 30, 40]], ["nutrition-table"])]
    with pytest.raises(ValueError, match=r"out, entry 2: that photo was not read \(b\.jpg"):
        read(tmp_path / "out", truths)
    whole = Results(str(tmp_path / "whole"))
    whole.begin(RUN, {})
    whole.add(as_table(row("a/pack0.jpg")))
    answers = read(tmp_path / "whole", truths)
    assert answers.name == "whole" and answers.ids == ["pack0"]
    assert answers.predictions.xyxy.tolist() == [BOX["xyxy"]]


def test_the_same_command_writes_alone(tmp_path):
    first, second = Results(str(tmp_path / "out")), Results(str(tmp_path / "out"))
    with first.only_command(), pytest.raises(ValueError, match="another command is writing"):
        second.only_command().__enter__()


@pytest.mark.slow
def test_a_child_that_dies_loses_its_photo_alone(small, photos, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests" / "helpers" / "broken_decoder"))
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "helpers" / "broken_decoder"))
    options = {"checkpoint": str(small), "adapter": str(small), "dtype": "float32"}
    child = Child("prepare", options)
    first = child.process.pid
    good = {"photo": "good.jpg", "file": (photos / "pack_0000.jpg").read_bytes()}
    bad = {"photo": "bad.jpg", "file": b"no photo"}
    results = child.results([good, {"photo": "deadly.jpg", "file": MARK}, bad])
    assert (results[0]["width"], results[0]["height"]) == (180, 240)
    assert results[1] is None
    assert results[2]["error"].startswith("bad.jpg is not a photo")
    assert child.process.pid != first
    os.kill(child.process.pid, signal.SIGKILL)  # no fault of the photo's
    assert child.results([good])[0]["width"] == 180
    child.pipe.close()
    assert child.process.wait(30) == 0


@pytest.mark.slow
def test_a_crop_that_cannot_be_written_stops_the_work_and_blames_no_photo(small, table, tmp_path):
    options = {"checkpoint": str(small), "adapter": str(small)}
    photo = io.BytesIO()
    table.save(photo, "PNG")
    row = {"photo": "pack.png", "file": photo.getvalue()}
    (prepared,) = Child("prepare", options | {"dtype": "float32"}).results([row])
    (tmp_path / "pack_table_1.jpg").mkdir()  # in the way of the crop
    more = {"threshold": 0.4, "crops": str(tmp_path), "device": "cpu"}
    child = Child("answer", options | more)
    with pytest.raises(ValueError, match=r"pack_table_1\.jpg"):
        child.results([row | prepared])


@pytest.mark.slow
def test_a_child_without_its_model_says_so():
    with pytest.raises(ValueError, match="there is no checkpoint /nowhere"):
        Child("prepare", {"checkpoint": "/nowhere", "adapter": "none", "dtype": "float32"})
