"""Refuses requests that no visitor's browser sends: foreign origins and hosts, floods."""

import atexit
import logging
import os
import re
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

import psutil
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = {"localhost", "127.0.0.1", "::1"}
LONGEST_CALL = 2**20  # bytes of a call that carries no file
UPLOADS = 2 * 2**30  # bytes of uploads that one page keeps; each is deleted after an hour
SAFE = {"GET", "HEAD", "OPTIONS"}
# The paths that the page and its clients use. Gradio 6.31 has more: monitoring, proxy, reload, ...
OPEN = re.compile(
    "/|/(config|theme.css|favicon.ico|manifest.json|robots.txt|pwa_icon|log(in|out))/?"
    "|/(assets|static|svelte)/.+"
    "|/gradio_api/(info|openapi.json|upload|upload_progress|cancel|reset|startup-events)/?"
    "|/gradio_api/(theme.css|user|login_check|app_id)/?"
    "|/gradio_api/(call|queue|heartbeat|custom_component)/.+|/gradio_api/file=.+"
)
UNREADABLE = "this call cannot be read: see the page's API docs"
LONGEST_SENTENCE = 250  # characters; it may quote what a visitor sent
PREFIX = "nutrition-vl-page-"


class Guard:
    """ASGI middleware in front of the page. `hosts` are the names it answers to."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self.app, self.hosts = app, LOOPBACK | set(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers refused requests with one sentence and hands on the others."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        refusal = self._refusal(scope)
        if refusal:
            return await PlainTextResponse(refusal[1], refusal[0])(scope, receive, send)
        started = False

        async def answer(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                # No other site may show the page in a frame and steal clicks.
                frames = [(b"x-frame-options", b"SAMEORIGIN")]
                frames += [(b"content-security-policy", b"frame-ancestors 'self'")]
                message["headers"] = [*message["headers"], *frames]
            await send(message)

        try:
            await self.app(scope, receive, answer)
        except Exception as error:  # Gradio reads calls unchecked: errors are of any type
            logging.getLogger(__name__).warning("%s: %r", scope["path"], error)
            if started:
                return await send({"type": "http.response.body", "body": b""})
            await PlainTextResponse(UNREADABLE, 400)(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        host = _hostname(f"//{headers.get('host', '')}")
        if not any(fnmatch(host, name) for name in self.hosts):
            return 403, f"this page does not answer to {host!r}: start it with --allowed-host"
        if not OPEN.fullmatch(scope["path"]):
            return 404, "there is nothing at this address: open the page itself"
        if scope["method"] in SAFE:
            return None
        origin = headers.get("origin")
        foreign = origin is not None and urlsplit(origin).netloc != headers.get("host")
        if foreign or headers.get("sec-fetch-site") == "cross-site":
            return 403, "another site sent this request: open the page itself"
        upload = scope["path"].endswith("/upload")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or (int(length) > LONGEST_CALL and not upload):
            return 413, f"this call is larger than {LONGEST_CALL} bytes: upload files first"
        if upload and _size(uploads()) > UPLOADS:
            return 507, "the page holds as many uploads as it may: try again in an hour"
        return None


def host_names(host: str, more: Iterable[str], share: bool) -> tuple[str, ...]:
    """The names a page on `host` answers to, besides the loopback's."""
    names = {host.strip("[]"), *more}
    if host in ("0.0.0.0", "::"):
        addresses = psutil.net_if_addrs().values()
        names |= {socket.gethostname(), *(one.address for each in addresses for one in each)}
    return (*names, "*.gradio.live") if share else tuple(names)


def listen(host: str, port: int) -> None:
    """Tries the port before a model is loaded; ValueError gives the reason, which Gradio hides."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host.strip("[]"), port))
            probe.listen()
    except (OSError, OverflowError) as error:
        raise ValueError(f"cannot listen on {host}:{port}: {error}") from error


def open_to_all(host: str, share: bool) -> bool:
    """True for a page that other machines reach."""
    return share or host not in LOOPBACK


def user(text: str) -> tuple[str, str]:
    """USER:PASSWORD_FILE as name and password; ValueError for a missing part."""
    name, _, file = text.partition(":")
    if not name or not Path(file).is_file():
        raise ValueError(f"--auth needs USER:PASSWORD_FILE, and {file or 'no file'} is not there")
    password = Path(file).read_text(encoding="utf-8").strip()
    if not password:
        raise ValueError(f"{file} is empty: put the password there")
    return name, password


def keep_uploads_apart() -> None:
    """Gives this process an upload folder that dies with it, and removes those of dead ones."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        pid = folder.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdecimal() and not _is_alive(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)
    own = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-")
    os.environ["GRADIO_TEMP_DIR"] = own
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)


def uploads() -> Path:
    """The folder that Gradio keeps uploads in."""
    from gradio.utils import get_upload_folder

    return Path(get_upload_folder())


def own_upload(path: str) -> Path:
    """The path of an uploaded file; ValueError for any other file of this machine, of which
    Gradio checks only those with `meta`."""
    from gradio.utils import is_in_or_equal

    if not is_in_or_equal(path, str(uploads())):
        raise ValueError(f"{path[-100:]} was not uploaded: upload the photo first")
    return Path(path)


def sentence(error: Exception) -> str:
    """An error in one short line for the visitor."""
    if type(error).__name__ == "OutOfMemoryError" or "out of memory" in str(error):
        return "the GPU's memory is full: try again, or start the page with --device cpu"
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"{Path(error.filename).name} is gone, uploads are kept for an hour: upload it again"
    text = " ".join(str(error).split())
    return text if len(text) <= LONGEST_SENTENCE else f"{text[:LONGEST_SENTENCE]}…"


def _hostname(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:  # brackets that do not close
        return ""


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _leave(number: int, frame: FrameType | None) -> None:
    """Ends the page, its evaluation and its uploads at once.

    Python's own end waits for threads, leaves evaluations running, and aborts below a model at
    work ("terminate called without an active exception", torch 2.11).
    """
    for child in psutil.Process().children():
        child.terminate()
    shutil.rmtree(os.environ["GRADIO_TEMP_DIR"], ignore_errors=True)
    os._exit(128 + number)
