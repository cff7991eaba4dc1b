"""What the page refuses before Gradio reads it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from nutrition_vl.page.guard import LONGEST_CALL, PREFIX, Guard, host_names, own_upload, user

UPLOAD, CALL, BROKEN = (f"/gradio_api/{name}" for name in ("upload", "call/a", "call/broken"))
ROOT = Path(__file__).parents[3]


async def echo(request):
    body = await request.body()
    return PlainTextResponse(str(len(body)))


def front(request):
    return PlainTextResponse("ok")


def broken(request):
    return {}["fn_index"]


@pytest.fixture
def client(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    routes = [Route(path, echo, methods=["POST"]) for path in (UPLOAD, CALL)]
    routes += [Route(BROKEN, broken, methods=["POST"]), Route("/", front)]
    guard = Middleware(Guard, hosts=["shop.example", "*.gradio.live"])
    return TestClient(
        Starlette(routes=routes, middleware=[guard]), base_url="http://localhost:7860"
    )


NAMES = ["localhost", "127.0.0.1:7860", "[::1]:80", "shop.example", "a.gradio.live"]
STRANGERS = ["evil.example", "", "localhost.evil.example", "[::", "gradio.live"]


@pytest.mark.parametrize("host", NAMES)
def test_names_one_listens_on_are_answered(client, host):
    answer = client.get("/", headers={"host": host})
    assert answer.text == "ok"
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"


@pytest.mark.parametrize("host", STRANGERS)
def test_other_names_are_refused(client, host):
    answer = client.get("/", headers={"host": host})
    assert answer.status_code == 403
    assert "--allowed-host" in answer.text


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:9999"])
def test_another_site_can_send_nothing(client, origin):
    for path in (UPLOAD, CALL):
        answer = client.post(path, content=b"x", headers={"origin": origin})
        assert (answer.status_code, "another site" in answer.text) == (403, True)


def test_a_no_cors_request_of_another_site_is_refused(client):
    assert client.post(UPLOAD, headers={"sec-fetch-site": "cross-site"}).status_code == 403


def test_the_pages_own_requests_pass(client):
    own = {"origin": "http://localhost:7860"}
    assert client.post(CALL, content=b"four", headers=own).text == "4"
    assert client.post(UPLOAD, content=b"x" * (LONGEST_CALL + 1), headers=own).status_code == 200


def test_a_huge_call_is_refused_unread(client):
    answer = client.post(CALL, content=b"x" * (LONGEST_CALL + 1))
    assert (answer.status_code, "upload files first" in answer.text) == (413, True)


def test_a_call_that_cannot_be_read_is_a_sentence(client):
    answer = client.post(BROKEN)
    assert (answer.status_code, "cannot be read" in answer.text) == (400, True)


def test_a_full_upload_folder_takes_no_more(client, tmp_path, monkeypatch):
    monkeypatch.setattr("nutrition_vl.page.guard.UPLOADS", 3)
    (tmp_path / "old").write_bytes(b"1234")
    assert client.post(UPLOAD, content=b"x").status_code == 507


def test_a_page_for_everybody_knows_the_machines_names():
    assert "127.0.0.1" in host_names("0.0.0.0", [], share=False)
    assert "*.gradio.live" in host_names("127.0.0.1", [], share=True)


def test_a_password_comes_from_a_file(tmp_path):
    file = tmp_path / "password"
    file.write_text("secret\n")
    assert user(f"anna:{file}") == ("anna", "secret")
    for text in ("anna", f":{file}", "anna:nowhere"):
        with pytest.raises(ValueError, match="--auth needs USER:PASSWORD_FILE"):
            user(text)
    file.write_text("")
    with pytest.raises(ValueError, match="is empty"):
        user(f"anna:{file}")


def test_only_uploads_are_opened(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    with pytest.raises(ValueError, match="was not uploaded"):
        own_upload(str(tmp_path / "secret"))
    with pytest.raises(ValueError, match="was not uploaded"):
        own_upload(f"{tmp_path}/uploads/../secret")


def test_uploads_die_with_their_process_even_by_sigterm(tmp_path):
    code = """
import os, pathlib, signal, subprocess
from nutrition_vl.page.guard import keep_uploads_apart
keep_uploads_apart()
pathlib.Path(os.environ["GRADIO_TEMP_DIR"], "a").write_text("x")
if signal.{signal} == signal.SIGTERM:
    subprocess.Popen(["sleep", "600"])
os.kill(os.getpid(), signal.{signal})
"""
    env = {k: v for k, v in os.environ.items() if k != "GRADIO_TEMP_DIR"}
    env["TMPDIR"] = str(tmp_path)

    def end(name):
        run = [sys.executable, "-c", code.replace("{signal}", name)]
        # A child, as an evaluation is one, holds the pipe open until it has ended too.
        subprocess.run(run, cwd=ROOT, env=env, capture_output=True, timeout=120)
        return [folder.name for folder in tmp_path.glob(f"{PREFIX}*")]

    assert end("SIGTERM") == []
    assert len(end("SIGKILL")) == 1
    assert end("SIGTERM") == []  # the next start removes what the killed one left
