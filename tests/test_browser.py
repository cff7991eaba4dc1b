"""The page as a person sees it: `python app.py` in headless Chromium, with no network behind it."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from nutrition_vl import export
from nutrition_vl.data import load_split
from nutrition_vl.data.corrections import read_corrections
from nutrition_vl.files import read_jsonl
from tests.helpers.server import call, file, running, uploaded

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: install Debian's chromium"),
]
ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "nutrition_vl" / "demo" / "examples"
FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync
    --disable-background-networking --disable-component-update""".split()
PATIENCE = 120_000  # milliseconds; two cores may be busy with something else
DESK, PHONE = (1280, 800), (390, 844)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of runs, of photos (thirty, one of them broken) and of labels."""
    place = tmp_path_factory.mktemp("page")
    (place / "runs").mkdir()
    (place / "photos" / "shop").mkdir(parents=True)
    small = [Image.open(EXAMPLES / f"pack_{n}.jpg").resize((150, 200)) for n in range(1, 7)]
    for number in range(29):
        small[number % 6].save(place / "photos" / "shop" / f"pack_{number:02}.jpg")
    (place / "photos" / "shop" / "broken.jpg").write_text("not a photo")
    return place


@pytest.fixture(scope="module")
def address(folders):
    """`python app.py` on a free port, as a user starts it."""
    (folders / "data").mkdir()
    for name in ("packs-1280", "packs-390"):  # a source, and so an evaluation, per screen
        shutil.copytree(EXAMPLES, folders / "data" / name)
    with running(folders) as address:
        yield address


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def opened(chromium, address, size):
    """The page in a window of some size; its errors and its requests are kept."""
    width, height = size
    view = chromium.new_page(viewport={"width": width, "height": height}, accept_downloads=True)
    view.set_default_timeout(PATIENCE)
    view.errors, view.requests = [], []
    view.on("pageerror", lambda error: view.errors.append(str(error)))
    view.on("request", lambda request: view.requests.append(request.url))
    view.goto(address)
    view.get_by_role("heading", name="nutrition-vl").wait_for()
    return view


@pytest.fixture
def desk(chromium, address):
    view = opened(chromium, address, DESK)
    yield view
    view.close()


@pytest.fixture(params=[DESK, PHONE], ids=["desk", "phone"])
def view(chromium, address, request):
    view = opened(chromium, address, request.param)
    yield view
    view.close()


def upload(view, file):
    view.locator("#photo-in input[type=file]").first.set_input_files(file)


def tab(view, name):
    """Opens a tab; on a phone most of them are in a menu."""
    button = view.get_by_role("tab", name=name, exact=True).locator("visible=true")
    menu = view.locator(".overflow-menu button").locator("visible=true")
    button.or_(menu).first.wait_for()  # the page has its layout
    if not button.count():
        menu.first.click()
        button = view.locator(".overflow-dropdown button", has_text=name)
    button.first.click()


def figure(view, text):
    return view.locator("#photo-figures figcaption", has_text=text)


def test_the_answer_to_an_upload_is_what_one_sees(view):
    upload(view, EXAMPLES / "pack_1.jpg")
    caption = figure(view, "demo: 1 table in")
    caption.wait_for()
    assert view.locator("#photo-figures rect.box").count() == 1
    score = view.locator("#photo-figures text.score").text_content()
    assert float(score) > 0.9
    top = view.locator("#photo-figures svg").first.bounding_box()
    assert top["y"] + 200 < view.viewport_size["height"]  # without scrolling
    assert view.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert view.errors == []


def test_two_adapters_stand_side_by_side_and_the_threshold_runs_nothing(view):
    upload(view, EXAMPLES / "pack_2.jpg")
    figure(view, "demo: 1 table").wait_for()
    view.get_by_label("Adapters (up to four)").first.click()
    view.get_by_role("option", name="no adapter").first.click()
    figure(view, "no adapter: ").wait_for()
    seconds = [text.split(" in ")[1] for text in view.locator("figcaption").all_inner_texts()]
    assert len(seconds) == 2
    slider = view.locator("input[type=range]:visible").first
    slider.focus()
    for _ in range(12):  # 0.4 to 1 by keyboard
        slider.press("ArrowRight")
    figure(view, "demo: No nutrition table").wait_for()
    again = [text.split(" in ")[1] for text in view.locator("figcaption").all_inner_texts()]
    assert again == seconds  # kept answers: no model ran
    assert view.locator("#photo-figures rect.box").count() == 0
    assert view.errors == []


def test_a_pasted_photo_is_answered(desk):
    content = base64.b64encode((EXAMPLES / "pack_3.jpg").read_bytes()).decode()
    for ready in ("#photo-in input[type=file]", ".live[aria-live]"):  # the script has run
        desk.locator(ready).first.wait_for(state="attached")
    desk.evaluate(
        """content => {
            const bytes = Uint8Array.from(atob(content), c => c.charCodeAt(0));
            const data = new DataTransfer();
            data.items.add(new File([bytes], "pasted.jpg", {type: "image/jpeg"}));
            document.dispatchEvent(new ClipboardEvent("paste", {clipboardData: data}));
        }""",
        content,
    )
    figure(desk, "demo: 1 table").wait_for()


def test_of_two_quick_uploads_the_last_is_answered(view):
    upload(view, EXAMPLES / "pack_4.jpg")
    upload(view, EXAMPLES / "pack_5.jpg")
    figure(view, "demo: ").wait_for()
    with view.expect_download() as download:
        view.get_by_role("button", name="Download JSON").click()
    assert json.loads(Path(download.value.path()).read_text())["photo"] == "pack_5.jpg"
    view.wait_for_timeout(2000)  # the first one's answer does not come after it
    with view.expect_download() as download:
        view.get_by_role("button", name="Download JSON").click()
    assert json.loads(Path(download.value.path()).read_text())["photo"] == "pack_5.jpg"
    assert figure(view, "demo: ").count() == 1
    assert view.errors == []


def test_a_photo_is_cancelled_while_it_waits_and_found_at_the_next_start(desk, address):
    """Others keep the page busy, so that the photo waits behind them."""
    photo = file(uploaded(address, "pack.jpg", (EXAMPLES / "pack_6.jpg").read_bytes()))
    with ThreadPoolExecutor(6) as others:
        busy = [
            others.submit(call, address, "compare", photo, ["demo", "none"], 0.4) for _ in range(12)
        ]
        upload(desk, EXAMPLES / "pack_1.jpg")
        desk.locator("#photo-in img").first.wait_for()
        desk.get_by_role("button", name="Cancel").click()
        desk.get_by_text("Cancelled.").wait_for()
        assert figure(desk, "demo: ").count() == 0
        desk.get_by_role("button", name="Find nutrition tables").click()
        figure(desk, "demo: 1 table").wait_for()
        assert {one.result()[:2] for one in busy} == {(200, "complete")}
    assert desk.errors == []


def test_a_broken_file_says_so_where_its_answer_would_be(view, tmp_path):
    upload(view, EXAMPLES / "pack_1.jpg")
    figure(view, "demo: 1 table").wait_for()
    (tmp_path / "note.jpg").write_text("not a photo")
    upload(view, tmp_path / "note.jpg")
    problem = view.locator("#photo-figures .problem")
    problem.wait_for()
    assert "note.jpg is not a photo: give one of JPEG" in problem.inner_text()
    assert problem.bounding_box()["y"] < view.viewport_size["height"]
    assert view.locator("rect.box").count() == 0


def test_the_json_names_photo_adapter_and_threshold(desk):
    upload(desk, EXAMPLES / "pack_1.jpg")
    figure(desk, "demo: 1 table").wait_for()
    with desk.expect_download() as download:
        desk.get_by_role("button", name="Download JSON").click()
    document = json.loads(Path(download.value.path()).read_text())
    assert (document["photo"], document["threshold"]) == ("pack_1.jpg", 0.4)
    assert (document["width"], document["height"]) == (540, 720)
    assert [answer["adapter"] for answer in document["answers"]] == ["demo"]


def test_an_example_is_answered(desk):
    desk.get_by_role("button", name="Example 1").click()
    figure(desk, "demo: 1 table").wait_for()


@pytest.mark.slow
def test_thirty_photos_are_stopped_continued_and_downloaded(view, of_the_command):
    """One of them broken; the COCO file equals the one that the command line makes."""
    tab(view, "Many photos")
    view.get_by_label("or a folder below").click()
    view.get_by_role("option", name="shop").click()
    view.get_by_role("button", name="Start or continue").click()
    view.wait_for_function("document.querySelector('progress')?.value >= 2")
    stop = view.get_by_role("button", name="Stop").locator("visible=true")
    for control in (stop, view.locator("progress")):  # next to each other, without scrolling
        place = control.bounding_box()
        assert 0 < place["y"] < place["y"] + place["height"] < view.viewport_size["height"] / 2
    stop.click()
    stopped = view.get_by_text(re.compile(r"Stopped at (\d+) of 30"))
    stopped.wait_for()
    assert int(re.search(r"at (\d+)", stopped.inner_text())[1]) < 30
    view.get_by_role("button", name="Start or continue").click()
    view.get_by_text("30 of 30 photos").wait_for()
    view.get_by_label("errors").check()
    view.get_by_text("is not a photo").first.wait_for()
    view.get_by_label("File format").click()
    view.get_by_role("option", name="coco").click()
    view.get_by_role("button", name="Make file to download").click()
    link = view.locator("a[download]:visible").last
    with view.expect_download() as download:
        link.click()
    coco = json.loads(Path(download.value.path()).read_text())
    assert {image["file_name"] for image in coco["images"]} == {
        f"pack_{n:02}.jpg" for n in range(29)
    }
    assert coco == of_the_command
    assert view.errors == []


@pytest.fixture(scope="module")
def of_the_command(folders):
    """The COCO file of `python -m nutrition_vl` and `python -m nutrition_vl.export`."""
    photos, place = folders / "photos" / "shop", folders
    run = [sys.executable, "-m", "nutrition_vl", "."]
    done = subprocess.run(
        run, cwd=photos, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    (place / "answers.jsonl").write_text(done.stdout)
    export.main([str(place / "answers.jsonl"), str(place / "boxes.json"), "--to", "coco"])
    return json.loads((place / "boxes.json").read_text())


def drag(view, box, pixels=(12, 9)):
    """Drags a box of pack_1.jpg by so many pixels of the screen; returns those of the photo."""
    canvas = view.locator("canvas:visible").first
    canvas.scroll_into_view_if_needed()
    view.wait_for_timeout(500)
    frame = canvas.bounding_box()
    scale = min(frame["width"] / 540, frame["height"] / 720)
    x = frame["x"] + (frame["width"] - 540 * scale) / 2 + (box[0] + box[2]) / 2 * scale
    y = frame["y"] + (frame["height"] - 720 * scale) / 2 + (box[1] + box[3]) / 2 * scale
    view.mouse.move(x, y)
    view.mouse.down()
    view.mouse.move(x + pixels[0], y + pixels[1], steps=4)
    view.mouse.up()
    return [pixel / scale for pixel in pixels]


@pytest.mark.slow
def test_a_corrected_box_is_saved_and_trained_on(view, folders):
    upload(view, EXAMPLES / "pack_1.jpg")
    figure(view, "demo: 1 table").wait_for()
    box = view.locator("#photo-figures rect.box").evaluate(
        """({x, y, width, height}) => [x, y, x, y].map(edge => edge.baseVal.value)
            .map((edge, n) => n < 2 ? edge : edge + [width, height][n - 2].baseVal.value)"""
    )
    view.get_by_role("button", name="Correct").first.click()
    view.get_by_text("pack_1.jpg: 540 x 720 pixels").wait_for()
    right, down = drag(view, box)
    view.get_by_role("button", name="Save boxes").click()
    view.get_by_text("with 1 boxes: 1 labelled").wait_for()
    view.get_by_role("button", name="No table here").click()
    view.get_by_text("with 0 boxes: 1 labelled").wait_for()
    view.get_by_role("button", name="Undo last save").click()
    view.get_by_text("Took back the last save").wait_for()
    [row] = load_split(folders / "labels")
    moved = [box[0] + right, box[1] + down, box[2] + right, box[3] + down]
    assert row["xyxy"] == [pytest.approx(moved, abs=4)]
    train = [sys.executable, "-m", "training", "--model_name_or_path", "demo", "--data_path"]
    run = folders / "runs" / f"corrected-{view.viewport_size['width']}"
    train += [str(folders / "labels"), "--output_dir", str(run), "--max_steps", "2"]
    train += ["--max_image_tokens", "80", "--use_cpu", "True"]
    done = subprocess.run(train, cwd=ROOT, capture_output=True, text=True)
    assert (run / "checkpoint-2").is_dir(), done.stderr[-2000:]
    tab(view, "Runs")  # the new run is there without a restart
    view.get_by_role("gridcell", name=run.name).first.wait_for()
    cells = [text.strip() for text in view.get_by_role("gridcell").all_inner_texts()]
    last = read_jsonl(run / "metrics.jsonl")[-1]
    assert 0 < last["forecast_gib"] < last["peak_gib"]  # on a CPU the peak includes Python
    wanted = [str(last[key]) for key in ("peak_gib", "forecast_gib", "photos_per_second")]
    place = cells.index(wanted[0])
    assert cells[place : place + 3] == wanted


@pytest.mark.slow
def test_an_evaluation_is_watched_and_its_worst_photo_opened(view, folders):
    tab(view, "Evaluate")
    view.get_by_label("Labelled photos in").click()
    packs = folders / "data" / f"packs-{view.viewport_size['width']}"
    view.get_by_role("option", name=packs.name).click()
    view.get_by_label("Split").fill("examples")
    start = view.get_by_role("button", name="Start or resume")
    start.click()
    view.get_by_text(re.compile("Loading|photo/s|s/photo")).first.wait_for()
    view.get_by_role("button", name="Stop").click()
    view.get_by_text("Stopped: the predictions so far stay").wait_for()
    start.click()  # at once: no late cancel ends it
    report = view.frame_locator("iframe[title=Report]")
    report.get_by_role("heading", name="Evaluation").first.wait_for()
    assert (folders / "runs" / "eval" / f"{packs.name}-examples" / "report.html").is_file()
    view.get_by_text("pack_1", exact=True).locator("visible=true").first.click()
    figure(view, "demo: 1 table in").wait_for()
    assert "IoU 0.9" in figure(view, "demo: ").inner_text()
    assert view.locator("#photo-figures rect.truth").count() == 1
    view.get_by_role("button", name="Correct").first.click()
    view.get_by_text(f"pack_1 of {packs.name} with its labels").wait_for()
    view.get_by_role("button", name="No table here").click()
    view.get_by_text("Saved pack_1 with 0 boxes").wait_for()
    corrections = folders / "labels" / packs.name / "corrections.jsonl"
    assert read_corrections(corrections, "examples")["pack_1"]["xyxy"] == []
    assert load_split(packs, "examples", corrections=corrections)["xyxy"][0] == []
    view.get_by_role("button", name="Undo last save").click()
    view.get_by_text("Took back the last save of pack_1").wait_for()
    assert corrections.read_text() == ""
    assert view.errors == []


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_keeps_people_with_a_screen_reader_out(desk, address, theme):
    axe = pytest.importorskip("axe_core_python.sync_playwright", reason="no axe-core-python")
    desk.goto(f"{address}?__theme={theme}")
    desk.get_by_role("button", name="Example 1").click()
    figure(desk, "demo: ").wait_for()
    for tab in ("Photo", "Many photos", "Correct", "Evaluate", "Runs"):
        desk.get_by_role("tab", name=tab, exact=True).click()
        desk.wait_for_timeout(1500)
        problems = axe.Axe().run(desk)["violations"]
        grave = [one["id"] for one in problems if one["impact"] in ("critical", "serious")]
        assert grave == [], tab


def test_the_page_needs_nobody_else(desk, address):
    ours = (address, "data:", "blob:")
    assert [url for url in desk.requests if not url.startswith(ours)] == []
