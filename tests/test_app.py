"""The page through its own client: a real server, the real demo, real files."""

import http.client
import io
import json
import shutil
import socket
import time
import urllib.error
import urllib.request
import zipfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from urllib.parse import urlsplit

import numpy as np
import psutil
import pytest
from gradio_client import handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from pillow_heif import register_heif_opener
from safetensors.numpy import load_file, save_file

import app
from nutrition_vl.detector import Detector
from nutrition_vl.models.checkpoints import DEMO
from nutrition_vl.models.load import PixelBudget, load_processor
from nutrition_vl.models.names import THRESHOLD
from nutrition_vl.page import api
from nutrition_vl.page.guard import uploads
from nutrition_vl.page.serve import serve
from tests.helpers.server import file, post, uploaded
from tests.helpers.visitors import crowd, detect, visitor

pytestmark = pytest.mark.model

EXAMPLES = DEMO / "examples"
WORDS = "Nutrition facts\nEnergy 250 kcal\nFat 10 g\nSugars 8 g\nProtein 6 g\nSalt 1.2 g"


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A second adapter on the demo's base: the demo's with another B, to answer otherwise."""
    runs = tmp_path_factory.mktemp("runs")
    folder = runs / "one" / "checkpoint-7"
    shutil.copytree(DEMO / "adapter", folder)
    weights = load_file(folder / "adapter_model.safetensors")
    noise = np.random.default_rng(0)
    changed = {
        name: noise.normal(0, 1, value.shape).astype(value.dtype) if "lora_B" in name else value
        for name, value in weights.items()
    }
    save_file(changed, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def address(demo, other):
    """A page with three choices: the demo's adapter, the other one, none."""
    page = app.build_app(demo, other.parents[1])
    yield opened(page)
    page.close()


def opened(page):
    """Opens a page on a free port and returns its address."""
    options = {"server_port": free_port(), "prevent_thread_lock": True, "quiet": True}
    return serve(page, server_name="127.0.0.1", **options)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def client(address):
    return visitor(address)


@pytest.fixture
def pack(tmp_path):
    """A photo of a package, 480 x 640, as PNG."""
    photo = Image.open(EXAMPLES / "pack_1.jpg").resize((480, 640))
    photo.save(tmp_path / "pack.png")
    return tmp_path / "pack.png"


def refusal(client, path, adapter="demo"):
    with pytest.raises(AppError) as caught:
        detect(client, path, adapter)
    return str(caught.value)


def test_a_photo_gives_a_drawing_rows_a_line_and_json(client, pack):
    shown, table, line, answer = client.predict(handle_file(pack), "demo", api_name="/detect")
    assert Image.open(shown["image"]).size == (480, 640)
    assert len(shown["annotations"]) == len(table["data"]) == len(answer["boxes"])
    assert (answer["width"], answer["height"]) == (480, 640)
    assert all(0 <= edge <= 640 for box in answer["boxes"] for edge in box["xyxy"])
    assert table["headers"] == ["label", "score", "x0", "y0", "x1", "y1"]
    assert "with demo in" in line
    assert "GiB" in line


def test_the_answer_is_the_detectors(client, demo, pack):
    photo = Image.open(pack)
    alone = demo.detect([photo], adapter="demo")[0].record(photo.size)
    del alone["seconds"]
    assert detect(client, pack) == json.loads(json.dumps(alone))


def test_a_photo_on_its_side_is_answered_upright(client, pack, tmp_path):
    photo = Image.open(pack)
    tag = Image.Exif()
    tag[0x0112] = 6  # Orientation: turn 90 degrees clockwise to see it upright
    photo.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "side.png", exif=tag)
    assert Image.open(tmp_path / "side.png").size == (640, 480)
    assert detect(client, tmp_path / "side.png") == detect(client, pack)


def test_an_iphones_photo_is_answered(client, pack, tmp_path):
    register_heif_opener()
    Image.open(pack).save(tmp_path / "pack.heic", quality=90)
    answer = detect(client, tmp_path / "pack.heic")
    assert (answer["width"], answer["height"]) == (480, 640)
    [box], [same] = answer["boxes"], detect(client, pack)["boxes"]
    assert box["xyxy"] == pytest.approx(same["xyxy"], abs=6)


def test_a_large_jpeg_has_the_boxes_of_the_command(client, demo, tmp_path):
    """Both decode it at a half of its size."""
    large = tmp_path / "large.jpg"
    Image.open(EXAMPLES / "pack_1.jpg").resize((2400, 3200)).save(large)
    [alone] = demo.stream([large], adapter="demo")
    wanted = alone.unwrap().record((2400, 3200))
    answer = detect(client, large)
    assert (answer["width"], answer["height"]) == (2400, 3200)
    assert answer["boxes"] == wanted["boxes"]


def test_boxes_that_are_less_sure_are_not_shown(client, pack, other):
    found = {name: detect(client, pack, name) for name in ("demo", str(other), "none")}
    name, every = max(found.items(), key=lambda pair: len(pair[1]["boxes"]))
    sure = [box["confidence"] for box in every["boxes"]]
    assert 0 < max(sure) < 1
    assert detect(client, pack, name, (1 + max(sure)) / 2) == every | {"boxes": []}
    *_, usual = client.predict(handle_file(pack), name, api_name="/detect")
    assert usual["boxes"] == [box for box in every["boxes"] if box["confidence"] >= THRESHOLD]


@pytest.mark.parametrize("threshold", [-1, 1.5, "high", None])
def test_a_threshold_is_from_0_to_1(client, pack, threshold):
    with pytest.raises(AppError, match="is not from 0 to 1"):
        detect(client, pack, threshold=threshold)


def test_the_drawing_of_a_large_photo_is_small_and_its_boxes_are_not():
    box = {"xyxy": [400.0, 200.0, 4000.0, 2000.0], "label": "nutrition-table", "confidence": 0.5}
    small, [(opacity, title)] = api.annotated(Image.new("RGB", (2000, 1000)), (4000, 2000), [box])
    assert small.size == (1280, 640)
    assert title == "nutrition-table 0.50"
    covered = np.argwhere(opacity)  # 400, 200 and 4000, 2000 times 1280 / 4000
    assert covered.min(axis=0).tolist() == [64, 128]
    assert covered.max(axis=0).tolist() == [639, 1279]
    assert opacity[64, 128] == 1 > opacity[300, 700] > 0
    assert api.row(box) == ["nutrition-table", 0.5, 400, 200, 4000, 2000]


def test_a_box_smaller_than_its_frame_covers_nothing_else():
    opacity = api.frame((1280, 640), np.array([0.0, 0.0, 3.0, 3.0]))
    assert opacity.sum() == 9


def spoiled(kind, folder, pack):
    path = folder / f"{kind}.jpg"
    Image.open(pack).save(path)
    whole = path.read_bytes()
    path.write_bytes({"text": b"not a photo", "empty": b"", "truncated": whole[:2000]}[kind])
    return path


@pytest.mark.parametrize("kind", ["text", "empty", "truncated"])
def test_what_is_no_photo_gets_one_sentence(client, pack, tmp_path, kind):
    message = refusal(client, spoiled(kind, tmp_path, pack))
    assert 10 < len(message) < 300
    assert "\n" not in message
    assert "Traceback" not in message


def test_odd_photos_are_photos(client, pack, tmp_path):
    photo = Image.open(pack)
    photo.convert("CMYK").save(tmp_path / "cmyk.jpg")
    photo.save(tmp_path / "moving.gif", save_all=True, append_images=[Image.new("RGB", photo.size)])
    for name in ("cmyk.jpg", "moving.gif"):
        answer = detect(client, tmp_path / name)
        assert (answer["width"], answer["height"]) == photo.size


def test_only_adapters_of_the_list_are_loaded(client, pack, other):
    message = refusal(client, pack, adapter=str(other.parent))
    assert str(other.parent) in message
    assert "demo" in message


def test_the_adapters_can_be_asked_for(client, other):
    assert client.predict(api_name="/adapters") == ["demo", str(other), "none"]


@pytest.fixture(scope="module")
def crowded(other, tmp_path_factory):
    """The address of another page, the names of its adapters, and a photo for each of eight people.

    Its checkpoints see a photo in 80 tokens, not the demo's 200 to 300: an answer then takes 0.2 s.
    In 40 they would ramble on to five boxes.
    """
    folder = tmp_path_factory.mktemp("crowded")
    own = shrunk(DEMO / "adapter", folder / "own" / "checkpoint-1")
    soft = shrunk(other, folder / "soft" / "checkpoint-2", soften=0.03)
    photo = Image.open(EXAMPLES / "pack_2.jpg")
    for number in range(8):  # no two of one size
        photo.resize((240 + number, 320)).save(folder / f"pack{number}.png")
    page = app.build_app(Detector.load(own, device="cpu"), folder)
    adapters = [str(own), str(soft), "none"]
    yield opened(page), adapters, sorted(folder.glob("pack?.png"))
    page.close()


def shrunk(adapter, folder, soften=1.0):
    """A copy of an adapter that sees a photo in 80 tokens at most and has that much of its B."""
    shutil.copytree(adapter, folder)
    load_processor(folder, PixelBudget(max_tokens=80)).save_pretrained(folder)
    weights = load_file(folder / "adapter_model.safetensors")
    softer = {
        name: (value * soften).astype(value.dtype) if "lora_B" in name else value
        for name, value in weights.items()
    }
    save_file(softer, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.slow
def test_single_photos_pass_a_long_job_and_none_is_mixed_up(crowded, tmp_path):
    """Eight clients x 25 requests on two adapters next to one job of 200 photos.

    Each gets the answer that it gets alone, and 95 % of them in 3 times the time without the job
    (measured: 0.9 to 1.3 times). The job ends last and gets its own, and the page takes no more
    memory than before.
    """
    address, adapters, packs = crowded
    turns = [(n % 8, packs[n % 8], adapters[(n // 8 + n % 8) % 2]) for n in range(200)]
    archive = two_hundred(tmp_path)
    with ProcessPoolExecutor(1, get_context("spawn")) as street:

        def answers(turns, size=8):
            return street.submit(crowd, address, turns, size).result()

        answers([(0, packs[0], name) for name in adapters], 1)  # one more moves others by some 1e-5
        each = sorted(set(turns))
        alone = dict(zip(each, answers(each, 1)[0], strict=True))
        assert len({json.dumps(answer) for answer in alone.values()}) == 16  # none is another's
        wanted = tuple(alone[turn] for turn in turns)
        calm, calm_seconds = answers(turns[:40])
        assert calm == wanted[:40]
        before = psutil.Process().memory_info().rss  # now every thread has an allocator of its own
        job = visitor(address, 9).submit(
            [handle_file(archive)], adapters[0], 0, api_name="/detect_many"
        )
        next(iter(job))  # the job's first photos are answered
        busy, busy_seconds = answers(turns)
        assert not job.done()
        assert busy == wanted
    rows = job.result()
    assert [row["photo"] for row in rows] == [f"{n:03}.png" for n in range(200)]
    assert [row["width"] for row in rows] == [60 + n for n in range(200)]  # each has its own size
    p95, p95_next_to_job = (np.percentile(one, 95) for one in (calm_seconds, busy_seconds))
    print(f"p95 of a single photo {p95:.2f} s, next to a job {p95_next_to_job:.2f} s")
    assert p95_next_to_job < 3 * p95
    assert psutil.Process().memory_info().rss < 1.1 * before


def two_hundred(folder):
    """A zip of 200 small photos, no two of one size."""
    photo, file = Image.open(EXAMPLES / "pack_3.jpg"), folder / "many.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(200):
            content = io.BytesIO()
            photo.resize((60 + number, 80)).save(content, "PNG")
            archive.writestr(f"{number:03}.png", content.getvalue())
    return file


@pytest.mark.slow
def test_a_job_ends_when_its_client_leaves(address, tmp_path):
    """Before its last photo; its files go with it."""
    archive = file(uploaded(address, "many.zip", two_hundred(tmp_path).read_bytes()))
    before = jobs()
    _, text = post(address, "/gradio_api/call/detect_many", {"data": [[archive], "demo", 0.4]})
    place = urlsplit(address)
    line = http.client.HTTPConnection(place.hostname, place.port)
    line.request("GET", f"/gradio_api/call/detect_many/{json.loads(text)['event_id']}")
    stream = line.getresponse()
    assert stream.readline().startswith(b"event: generating")
    [folder] = jobs() - before
    stream.close()
    line.close()
    answered = 0
    for _ in range(600):
        answered = max(answered, len(list(folder.glob("*.jpg"))))
        if not folder.exists():
            break
        time.sleep(0.1)
    assert not folder.exists()
    assert answered < 200


def jobs():
    """The folders of jobs that have not ended."""
    return set(uploads().glob("job-*"))


def test_a_model_that_fails_costs_its_photos_and_no_others(client, demo, pack, monkeypatch):
    detect(client, pack)
    with monkeypatch.context() as patch:
        patch.setattr(type(demo), "stream", broken)
        assert refusal(client, pack) == "the model failed with KeyError: 'no such weight'"
    assert len(detect(client, pack)["boxes"]) == 1


def broken(*_, **__):
    raise KeyError("no such weight")


def test_swapping_adapters_keeps_the_base(client, demo, pack, other):
    detect(client, pack, str(other))  # loaded; bitsandbytes packs weights at first use
    base = {value.data_ptr() for name, value in demo.model.named_parameters() if "lora" not in name}
    for name in (str(other), "none", "demo"):
        detect(client, pack, name)
    assert base == {
        value.data_ptr() for name, value in demo.model.named_parameters() if "lora" not in name
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--port {taken}", "cannot listen on 127.0.0.1:{taken}: [Errno 98] Address already in use"),
        ("--port 99999", "cannot listen on 127.0.0.1:99999: bind(): port must be 0-65535."),
        ("--host nowhere.invalid", "cannot listen on nowhere.invalid:7860: "),
        ("--runs nowhere", "there is no folder nowhere: "),
        ("--checkpoint nowhere --port {free}", "there is no checkpoint nowhere: "),
    ],
)
def test_a_page_that_cannot_be_opened_is_one_sentence(address, words, said, capsys):
    ports = {"taken": address.rstrip("/").rpartition(":")[2], "free": free_port()}
    assert app.main(words.format_map(ports).split()) == 2
    assert capsys.readouterr().err.startswith(f"app.py: {said.format_map(ports)}")


def test_a_port_is_a_number_from_1_up(capsys):
    with pytest.raises(SystemExit):
        app.main(["--port", "0"])
    assert "give a whole number from 1 up, not 0" in capsys.readouterr().err


def asked(address, photo):
    """What the server says to an API call that claims this photo, as anybody may write it."""
    url = f"{address}gradio_api/call/detect"
    body = json.dumps({"data": [photo, "demo", 0.4]}).encode()
    call = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    event = json.load(urllib.request.urlopen(call))["event_id"]
    return urllib.request.urlopen(f"{url}/{event}").read().decode()


def test_no_file_of_the_machine_is_read_but_those_uploaded(client, address, pack):
    away = [asked(address, {"path": str(path)}) for path in (pack, pack.with_name("none.png"))]
    for said, name in zip(away, ("pack.png", "none.png"), strict=True):
        assert said.startswith("event: error")
        assert f"{name} was not uploaded: upload the photo first" in said


def test_the_queue_cannot_be_passed_by(address):
    request = urllib.request.Request(
        f"{address}gradio_api/run/detect",
        data=b'{"data": [null, "none"]}',
        headers={"Content-Type": "application/json"},
    )
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(request)
