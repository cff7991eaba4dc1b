"""The page as a person sees it: `python app.py` in headless Chromium, with no network behind it."""

import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: install Debian's chromium"),
]
ROOT = Path(__file__).parents[1]
PHOTOS = ROOT.parent / "shared" / "data" / "real" / "images"
FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync
    --disable-background-networking --disable-component-update""".split()
PATIENCE = 120_000  # milliseconds; two cores may be busy with something else
FOUND = re.compile(r"(\d+ tables?|No nutrition table) found with")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """`python app.py` on a free port, as a user starts it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    runs = tmp_path_factory.mktemp("runs")
    command = [sys.executable, "app.py", "--port", str(port), "--runs", str(runs)]
    server = subprocess.Popen(command, cwd=ROOT)
    yield listening(server, port)
    server.terminate()
    server.wait()


def listening(server, port):
    for _ in range(PATIENCE // 500):
        assert server.poll() is None, "app.py stopped before it opened the page"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return f"http://127.0.0.1:{port}/"
        time.sleep(0.5)
    raise TimeoutError("app.py did not open the page")


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(params=[(1280, 900), (420, 900)], ids=["desk", "phone"])
def view(chromium, address, request):
    """The page in a window of some size; its errors and its requests are kept."""
    width, height = request.param
    view = chromium.new_page(viewport={"width": width, "height": height})
    view.wrong, view.asked = [], []
    view.on("pageerror", lambda error: view.wrong.append(str(error)))
    view.on("request", lambda request: view.asked.append(request.url))
    view.goto(address)
    yield view
    view.close()


@pytest.fixture
def photo(tmp_path):
    if PHOTOS.is_dir():
        return sorted(PHOTOS.glob("*.jpg"))[0]
    picture = Image.new("RGB", (600, 800), "#1d4ed8")
    pen = ImageDraw.Draw(picture)
    pen.rectangle((120, 250, 480, 700), fill="white")
    pen.multiline_text(
        (140, 280), "Nutrition facts\nEnergy 250 kcal\nFat 10 g", "black", font_size=32
    )
    picture.save(tmp_path / "pack.jpg")
    return tmp_path / "pack.jpg"


def test_a_photo_is_answered_and_the_adapter_switched(view, photo, tmp_path):
    expect = playwright.expect
    expect(view.get_by_role("heading", name="nutrition-vl")).to_be_visible(timeout=PATIENCE)
    view.locator("input[type=file]").first.set_input_files(photo)
    line = view.get_by_text(FOUND)
    expect(line).to_contain_text("with demo in", timeout=PATIENCE)
    boxed(view, line.inner_text())

    view.get_by_label("Adapter").click()
    view.get_by_role("option", name="no adapter").click()
    expect(line).to_contain_text("with no adapter in", timeout=PATIENCE)
    boxed(view, line.inner_text())

    view.screenshot(path=tmp_path / "page.png", full_page=True)
    assert view.get_by_test_id("toast-body").count() == 0
    assert view.wrong == []
    assert view.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def boxed(view, line):
    """As many boxes are drawn as the line under the picture says."""
    said = re.match(r"\d+", line)
    assert view.locator(".mask").count() == (int(said[0]) if said else 0)


def test_the_json_can_be_downloaded(view, photo, tmp_path):
    view.locator("input[type=file]").first.set_input_files(photo)
    playwright.expect(view.get_by_text(FOUND)).to_be_visible(timeout=PATIENCE)
    with view.expect_download() as download:
        view.get_by_role("button", name="Download JSON").click()
    assert '"boxes"' in Path(download.value.path()).read_text()


def test_a_file_that_is_no_photo_says_so_where_its_answer_would_be(view, photo, tmp_path):
    view.locator("input[type=file]").first.set_input_files(photo)
    playwright.expect(view.get_by_text(FOUND)).to_be_visible(timeout=PATIENCE)
    (tmp_path / "note.jpg").write_text("not a photo")
    view.locator("input[type=file]").first.set_input_files(tmp_path / "note.jpg")
    said = view.get_by_text("note.jpg is not a photo: give one of JPEG")
    playwright.expect(said).to_be_visible(timeout=PATIENCE)
    assert view.get_by_text(FOUND).count() == view.locator(".mask").count() == 0
    assert view.get_by_role("cell", name="nutrition-table").count() == 0
    assert view.get_by_test_id("toast-body").count() == 0


def test_an_example_is_answered(view):
    view.get_by_role("button", name="pack_1.jpg").or_(view.locator(".gallery-item")).first.click()
    playwright.expect(view.get_by_text(FOUND)).to_be_visible(timeout=PATIENCE)


def test_the_page_needs_nobody_else(view, address):
    view.get_by_role("heading", name="nutrition-vl").wait_for(timeout=PATIENCE)
    ours = (address, "data:", "blob:")
    assert [url for url in view.asked if not url.startswith(ours)] == []
