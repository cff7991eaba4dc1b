"""Requests that no visitor's browser sends: each is refused in one sentence and leaves nothing."""

import io
import json
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from nutrition_vl.models.checkpoints import DEMO
from tests.helpers.server import call, file, post, running, send, upload, uploaded

EXAMPLES = DEMO / "examples"
API = "/gradio_api"
MARKDOWN = "[x](javascript:alert(1))<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Empty folders of runs, photos and labels, and a secret next to them."""
    place = tmp_path_factory.mktemp("hostile")
    for name in ("runs", "photos", "labels", "data/packs"):
        (place / name).mkdir(parents=True)
    (place / "secret.jpg").write_bytes((EXAMPLES / "pack_1.jpg").read_bytes())
    (place / "data" / "packs" / "metadata.jsonl").write_text("")
    return place


@pytest.fixture(scope="module")
def page(folders):
    """The page's address and the file of its stderr."""
    with (folders / "stderr").open("w") as log, running(folders, log) as address:
        yield address, folders / "stderr"


def requests(secret):
    """Method, path, headers and body by name."""
    own = {"content-type": "application/json"}
    evil = own | {"origin": "http://evil.example"}
    call_body = json.dumps({"data": [None, "demo", 0.4]}).encode()
    join = {"data": [], "session_hash": "a"}

    def joined(**more):
        return "POST", f"{API}/queue/join", own, json.dumps(join | more).encode()

    return {
        "foreign origin": ("POST", f"{API}/call/detect", evil, call_body),
        "null origin": ("POST", f"{API}/call/detect", own | {"origin": "null"}, call_body),
        "cross-site": ("POST", f"{API}/upload", {"sec-fetch-site": "cross-site"}, b"x"),
        "foreign host": ("GET", "/", {"host": "evil.example"}, None),
        "no host": ("GET", "/", {"host": ""}, None),
        "host with brackets": ("GET", "/config", {"host": "[::"}, None),
        "forwarded host": ("GET", "/", {"host": "127.0.0.1.evil.example"}, None),
        "file of the machine": ("GET", f"{API}/file=/etc/passwd", {}, None),
        "photo of the machine": ("GET", f"{API}/file={secret}", {}, None),
        "dots in a file": ("GET", f"{API}/file=../../../etc/passwd", {}, None),
        "file by its old name": ("GET", f"{API}/file//etc/passwd", {}, None),
        "file of another site": ("GET", f"{API}/file=http://127.0.0.1:1/x", {}, None),
        "file scheme": ("GET", f"{API}/file=file:///etc/passwd", {}, None),
        "proxy": ("GET", f"{API}/proxy=http://127.0.0.1:1/", {}, None),
        "dots in static": ("GET", "/static/..%2f..%2f..%2fetc/passwd", {}, None),
        "dots in assets": ("GET", "/assets/../../../../etc/passwd", {}, None),
        "custom component": ("GET", f"{API}/custom_component/x/client/y/..%2fz", {}, None),
        "monitoring": ("GET", "/monitoring", {}, None),
        "monitoring summary": ("GET", "/monitoring/summary", {}, None),
        "monitoring key": ("GET", "/monitoring/x", {}, None),
        "reload": ("GET", f"{API}/dev/reload", {}, None),
        "vibe edit": ("POST", f"{API}/vibe-edit", own, b'{"prompt": "x"}'),
        "vibe code": ("GET", f"{API}/vibe-code", {}, None),
        "process recording": ("POST", f"{API}/process_recording", own, b"{}"),
        "deep link": ("GET", f"{API}/deep_link?session_hash=../../x", {}, None),
        "run history": ("GET", f"{API}/run-history/records", {}, None),
        "runs page": ("GET", f"{API}/runs", {}, None),
        "token": ("GET", f"{API}/token", {}, None),
        "startup events twice": ("GET", f"{API}/startup-events/x", {}, None),
        "profiling": ("GET", f"{API}/profiling/traces", {}, None),
        "unknown path": ("GET", "/admin.php", {}, None),
        "stream": ("GET", f"{API}/stream/a/1/2/playlist.m3u8", {}, None),
        "stream of an event": ("POST", f"{API}/stream/nowhere", own, b"{}"),
        "component server": (
            "POST",
            f"{API}/component_server",
            own,
            b'{"session_hash": "a", "component_id": 1, "fn_name": "ls", "data": []}',
        ),
        "upload progress": ("GET", f"{API}/upload_progress?upload_id=nowhere", {}, None),
        "upload of no form": ("POST", f"{API}/upload", own, b"{}"),
        "method": ("DELETE", f"{API}/call/detect", {}, None),
        "run past the queue": ("POST", f"{API}/run/detect", own, call_body),
        "api past the queue": ("POST", f"{API}/api/detect", own, call_body),
        "unknown endpoint": ("POST", f"{API}/call/nowhere", own, call_body),
        "no JSON": ("POST", f"{API}/call/detect", own, b"{"),
        "a list": ("POST", f"{API}/call/detect", own, b"[]"),
        "deep JSON": ("POST", f"{API}/call/detect", own, b"[" * 100_000),
        "binary": ("POST", f"{API}/call/detect", own, bytes(range(256))),
        "large call": ("POST", f"{API}/call/detect", own, b" " * (2**20 + 1)),
        "negative length": ("POST", f"{API}/call/detect", own | {"content-length": "-1"}, b""),
        "fn_index 99": joined(fn_index=99),
        "fn_index -1": joined(fn_index=-1),
        "fn_index text": joined(fn_index="x"),
        "no fn_index": joined(),
        "session of another type": joined(session_hash={"a": 1}, fn_index=0),
        "no session": joined(session_hash=None, fn_index=0),
        "call of another version": ("POST", f"{API}/call/v2/detect", own, b'{"x": 1}'),
    }


def calls(address, secret):
    """Endpoint and values by name; each of them reaches the page's own code, or should not."""
    whole = (EXAMPLES / "pack_1.jpg").read_bytes()
    photo = file(uploaded(address, "pack.jpg", whole))
    text = file(uploaded(address, "note.jpg", b"not a photo"))
    half = file(uploaded(address, "half.jpg", whole[:2000]))
    odd = file(uploaded(address, f"{MARKDOWN.replace('/', '')}.jpg", b"x"))
    huge = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(huge, "PNG")
    bomb = file(uploaded(address, "bomb.png", huge.getvalue()))
    slip, empty, many = (
        file(uploaded(address, f"{name}.zip", packed(members)))
        for name, members in {
            "slip": {"../../../slip.jpg": whole[:50], "/slip.txt": b"x"},
            "empty": {"a.txt": b"x"},
            "many": {f"{number}.jpg": b"" for number in range(30_000)},
        }.items()
    )
    broken = file(uploaded(address, "broken.zip", b"PK\x03\x04"))
    data_url = {"url": "data:image/png;base64,AAAA", "path": "x"}
    return {
        "no photo": ("detect", None, "demo", 0.4),
        "a number for a photo": ("detect", 7, "demo", 0.4),
        "a path for a photo": ("detect", str(secret), "demo", 0.4),
        "a photo of the machine": ("detect", {"path": str(secret)}, "demo", 0.4),
        "a marked photo of the machine": ("detect", file(str(secret)), "demo", 0.4),
        "an odd mark": ("detect", file(str(secret), meta=None), "demo", 0.4),
        "dots in a photo": ("detect", {"path": f"{photo['path']}/../../x"}, "demo", 0.4),
        "a zero in a path": ("detect", {"path": "a\0b"}, "demo", 0.4),
        "a long path": ("detect", {"path": "a" * 10_000}, "demo", 0.4),
        "a deleted upload": ("detect", {"path": f"{photo['path']}.gone"}, "demo", 0.4),
        "an address for a photo": ("detect", file("http://127.0.0.1:1/a.jpg"), "demo", 0.4),
        "a data address": ("detect", data_url, "demo", 0.4),
        "a text": ("detect", text, "demo", 0.4),
        "half a photo": ("detect", half, "demo", 0.4),
        "400 megapixels": ("detect", bomb, "demo", 0.4),
        "markdown in a photo's name": ("detect", odd, "demo", 0.4),
        "markdown in an adapter": ("detect", photo, MARKDOWN, 0.4),
        "a path for an adapter": ("detect", photo, str(secret.parent), 0.4),
        "an adapter of dots": ("detect", photo, "../../demo", 0.4),
        "no adapter's name": ("detect", photo, None, 0.4),
        "an object for an adapter": ("detect", photo, {"a": [1]}, 0.4),
        "a threshold of 2": ("detect", photo, "demo", 2),
        "a true threshold": ("detect", photo, "demo", True),
        "a NaN": ("detect", photo, "demo", float("nan")),
        "an infinity": ("detect", photo, "demo", float("inf")),
        "too few values": ("detect", photo),
        "no adapters": ("compare", photo, [], 0.4),
        "10,000 adapters": ("compare", photo, ["demo"] * 10_000, 0.4),
        "lists of adapters": ("compare", photo, [["demo"], [None]], 0.4),
        "many photos of none": ("detect_many", [], "demo", 0.4),
        "many photos of null": ("detect_many", None, "demo", 0.4),
        "many photos of text": ("detect_many", "x", "demo", 0.4),
        "many nulls": ("detect_many", [None, None], "demo", 0.4),
        "many of the machine": ("detect_many", [file(str(secret))], "demo", 0.4),
        "many, unmarked": ("detect_many", [{"path": str(secret)}], "demo", 0.4),
        "many with an odd adapter": ("detect_many", [photo], ["demo", "none"], 0.4),
        "many at a text": ("detect_many", [photo], "demo", "high"),
        "a zip that slips": ("detect_many", [slip], MARKDOWN, 0.4),
        "a zip without a photo": ("detect_many", [empty], "demo", 0.4),
        "a zip of 30,000": ("detect_many", [many], "demo", 0.4),
        "a broken zip": ("detect_many", [broken], "demo", 0.4),
        "a run of dots": ("evaluate", ["../.."], "packs", "val"),
        "a run of /": ("evaluate", ["/etc"], "packs", "val"),
        "a run as text": ("evaluate", "x", "packs", "val"),
        "a run of numbers": ("evaluate", [7], "packs", "val"),
        "data elsewhere": ("evaluate", [], "../..", "val"),
        "data of /": ("evaluate", [], "/etc", "val"),
        "data as a list": ("evaluate", [], ["packs"], "val"),
        "no data": ("evaluate", [], None, "val"),
        "a split of options": ("evaluate", [], "packs", "--out=/tmp/x"),
        "a split as a number": ("evaluate", [], "packs", 5),
        "empty data": ("evaluate", [], "packs", "val"),
    }


def shown(address, photo):
    """The answer of the page's own event to a photo of the machine."""
    values = [{"path": str(photo)}, ["demo"], 0.4, 0, None, None, 0]
    return call(address, "show", *values)[2]


def packed(members):
    """A zip of names and contents."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as pack:
        for name, content in members.items():
            pack.writestr(name, content)
    return buffer.getvalue()


def is_sentence(text):
    """True for one line that a person can read."""
    return 10 < len(text) < 300 and "\n" not in text and "Traceback" not in text


def files_below(place):
    """Every file but the log, with its size."""
    return {
        (path, path.stat().st_size)
        for path in place.rglob("*")
        if path.is_file() and path.name != "stderr"
    }


@pytest.mark.slow
def test_a_hundred_hostile_requests_are_refused_in_a_sentence_and_leave_no_file(page, folders):
    address, log = page
    secret = folders / "secret.jpg"
    named_calls = calls(address, secret)
    before, wrong = files_below(folders), {}
    for name, (method, path, headers, body) in requests(secret).items():
        status, text = send(address, path, method, body, headers)
        if not 400 <= status < 500 or not is_sentence(text):
            wrong[name] = status, text[:200]
    for name, (endpoint, *values) in named_calls.items():
        status, event, data = call(address, endpoint, *values)
        refused = event in ("error", "refused") and 200 <= status < 500
        text = json.loads(data).get("error", "") if event == "error" else data
        if not refused or not is_sentence(text):
            wrong[name] = status, event, data[:200]
    assert wrong == {}
    assert call(address, "corrections", {"file_name": "../x"}, 5) == (200, "complete", "[[]]")
    assert send(address, f"{API}/call/detect/nowhere")[1].endswith('data: "404: Not Found"\n\n')
    assert "was not uploaded" in shown(address, secret)
    assert files_below(folders) == before
    assert "Traceback" not in log.read_text()
    photo = file(uploaded(address, "pack.jpg", (EXAMPLES / "pack_1.jpg").read_bytes()))
    status, event, data = call(address, "detect", photo, "demo", 0.4)
    assert (status, event) == (200, "complete")
    assert len(json.loads(data)[3]["boxes"]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["../../slip.jpg", "/etc/slip.jpg", "..\\\\slip.jpg", "a\0b.jpg"])
def test_an_upload_stays_in_its_folder(page, folders, name):
    address, _ = page
    before = files_below(folders)
    status, text = upload(address, name, name.encode())
    assert status in (200, 400)
    kept = {path for path, _ in files_below(folders) - before}
    assert all(path.is_relative_to(folders / "temporary") for path in kept)
    assert not Path("/etc/slip.jpg").exists()
    if status == 200:
        assert [Path(path) for path in json.loads(text)] == list(kept)


@pytest.mark.slow
def test_a_call_in_another_form_gets_the_answer_of_its_form(page):
    address, _ = page
    status, text = post(address, f"{API}/call/adapters", {"data": []})
    assert status == 200
    assert "event_id" in json.loads(text)
