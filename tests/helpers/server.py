"""`python app.py` as a process of its own, and requests to it as anybody may write them."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[2]
PATIENCE = 240  # seconds; two cores may be busy with something else
BOUNDARY = "frontier"


@contextmanager
def running(folders, stderr=None):
    """The address of a page over folders of runs, photos, labels and data, while it runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "app.py", "--port", str(port)]
    for name in ("runs", "photos", "labels", "data"):
        command += [f"--{name}", str(folders / name)]
    # A page of its own keeps uploads apart from those of the tests' process.
    env = {key: value for key, value in os.environ.items() if key != "GRADIO_TEMP_DIR"}
    (folders / "temporary").mkdir(exist_ok=True)
    env["TMPDIR"] = str(folders / "temporary")
    server = subprocess.Popen(command, cwd=ROOT, stderr=stderr, env=env)
    try:
        yield listening(server, port)
    finally:
        server.terminate()
        server.wait()


def listening(server, port):
    """Waits until the server listens."""
    for _ in range(2 * PATIENCE):
        assert server.poll() is None, "app.py stopped before it opened the page"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return f"http://127.0.0.1:{port}/"
        time.sleep(0.5)
    raise TimeoutError("app.py did not open the page")


def send(address, path, method="GET", body=None, headers=None):
    """Status and text of the answer to one request, written as it is."""
    place = urlsplit(address)
    line = http.client.HTTPConnection(place.hostname, place.port, timeout=PATIENCE)
    try:
        line.request(method, path, body, headers or {})
        answer = line.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    finally:
        line.close()


def post(address, path, document):
    """Status and text of the answer to a JSON document."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return send(address, path, "POST", body, {"content-type": "application/json"})


def upload(address, name, content):
    """Status and text of the answer to an upload of one file under this name."""
    field = f'form-data; name="files"; filename="{name}"'
    head = f"--{BOUNDARY}\r\nContent-Disposition: {field}\r\n\r\n"
    body = head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()
    form = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
    return send(address, "/gradio_api/upload", "POST", body, form)


def uploaded(address, name, content):
    """The path that the page gives to an upload."""
    status, text = upload(address, name, content)
    assert status == 200, text
    return json.loads(text)[0]


def file(path, **more):
    """An uploaded file as a value of a call."""
    return {"path": path, "meta": {"_type": "gradio.FileData"}} | more


def call(address, endpoint, *values):
    """Status, event and data of an API call's end; the event is `complete` or `error`."""
    status, text = post(address, f"/gradio_api/call/{endpoint}", {"data": list(values)})
    if status != 200:
        return status, "refused", text
    event = json.loads(text)["event_id"]
    _, stream = send(address, f"/gradio_api/call/{endpoint}/{event}")
    name, data = stream.strip().rpartition("event: ")[2].split("\n", 1)
    return status, name, data.removeprefix("data: ")
