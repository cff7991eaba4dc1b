"""The README's Python examples do what their comments say, the API's against a running page."""

import ast
import json
import re
import shutil
from pathlib import Path

import pytest
from gradio_client import Client

from nutrition_vl import __main__ as command
from nutrition_vl.models.checkpoints import DEMO
from nutrition_vl.page.labels import LabelFolder
from tests.helpers.server import running

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
DETECTOR, API = (text for kind, text in BLOCKS if kind == "python")
[PRINTED] = (json.loads(text) for kind, text in BLOCKS if kind == "json")
PACK = DEMO / "examples" / "pack_1.jpg"
TABLE = [[45.0, 166.0, 304.0, 509.0]]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The address of `python app.py` with a labelled source of one photo and one correction."""
    place = tmp_path_factory.mktemp("page")
    for name in ("runs", "photos", "data", "labels"):
        (place / name).mkdir()
    for folder in (place / "data" / "packs", place / "labels"):
        LabelFolder(folder).save(PACK, (540, 720), TABLE, ["nutrition-table"])
    with running(place) as address:
        yield address


def test_the_command_prints_the_line_that_is_shown(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert command.main(["nutrition_vl/demo/examples/pack_1.jpg"]) == 0
    line = json.loads(capsys.readouterr().out)
    for changing in ("seconds", "text"):  # the README cuts the text
        del line[changing]
    assert line == {key: PRINTED[key] for key in line}


def test_the_detectors_example_prints_its_comment(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    exec(DETECTOR, {})
    [comment] = re.findall(r"xyxy.*# (.*)", DETECTOR)
    assert capsys.readouterr().out.strip() == comment


def test_every_line_of_the_api_runs(page, tmp_path, monkeypatch):
    shutil.copyfile(PACK, tmp_path / "pack.jpg")
    monkeypatch.chdir(tmp_path)
    values = results(API.replace("http://127.0.0.1:7860", page))
    assert values["adapters"] == ["demo", "none"]
    *_, answer = values["detect"]
    assert len(answer["boxes"]) == 1
    assert [one["adapter"] for one in values["compare"]] == ["demo", "none"]
    assert values["compare"][0]["boxes"] == answer["boxes"]
    assert [one["boxes"] for one in values["detect_many"]] == [answer["boxes"]]
    rows = values["evaluate"]["results"]
    assert {row["photos"] for row in rows} == {1}
    assert max(row["mean_iou"] for row in rows) > 0.9
    assert [row["width"] for row in values["corrections"]] == [540]


def results(code):
    """The value of each line that calls an endpoint, by the endpoint's name."""
    names, values = {}, {}
    for statement in ast.parse(code).body:
        line = ast.unparse(statement)
        if endpoint := re.search(r"api_name='/(\w+)'", line):
            call = line[line.index("page.predict") :]
            values[endpoint[1]] = eval(call, names)
        else:
            exec(line, names)
    return values


def test_every_endpoint_has_one_sentence(page):
    api = Client(page, verbose=False).view_api(return_format="dict")["named_endpoints"]
    wanted = "adapters compare corrections detect detect_many evaluate".split()
    assert sorted(name.removeprefix("/") for name in api) == wanted
    for name in wanted:
        assert re.fullmatch(r"[A-Z][^.]{20,}\.", api[f"/{name}"]["description"].strip()), name
