"""Conversations of every style give the same boxes, or a sentence that says why they cannot."""

import json
import logging

import pytest
from PIL import Image

from nutrition_vl.boxes import EXAMPLE, LABELS
from nutrition_vl.data import load_split

TABLE, TEXT, *_ = LABELS
QUESTION = {"role": "user", "content": "<image>Where?"}
GRID = "<|object_ref_start|>{}<|object_ref_end|><|box_start|>(100,100),(600,600)<|box_end|>"
# The same box in a photo of 200 x 100.
BOX = [20, 10, 120, 60]


def chat(answer, image="a.jpg", **more):
    return {"image": image, "messages": [QUESTION, {"role": "assistant", "content": answer}]} | more


def written(folder, *entries, size=(200, 100), names="ab"):
    for name in names:
        Image.new("RGB", size).save(folder / f"{name}.jpg")
    file = folder / "qa.json"
    file.write_text(json.dumps(entries))
    return file


def boxes(file, skipped=None):
    rows = load_split(file, "train", skipped=skipped).remove_columns("image")
    return {row["id"]: [[round(x, 3) for x in box] for box in row["xyxy"]] for row in rows}


def bbox_2d(*numbers, label=TABLE):
    return f"```json\n{json.dumps([{'bbox_2d': numbers, 'label': label}])}\n```"


PHOTOS = [
    {"image": "a.jpg"},
    {"image": ["a.jpg"]},
    {"images": ["a.jpg"]},
    {"images": [{"path": "a.jpg"}]},
    {"image": "file://a.jpg"},
    {"image": "/content/drive/MyDrive/set/a.jpg"},
    {"image": r"C:\Users\me\set\a.jpg"},
    {"image": "https://packs.example/2026/a.jpg?X-Amz-Signature=1%2F2"},
]
PARTS = [
    {"type": "image", "image": "a.jpg"},
    {"type": "image", "url": "a.jpg"},
    {"type": "image_url", "image_url": {"url": "a.jpg"}},
]


@pytest.mark.parametrize("photo", PHOTOS)
def test_a_photo_may_be_named_in_many_ways(photo, tmp_path):
    entry = {key: value for key, value in chat(GRID.format(TABLE)).items() if key != "image"}
    assert boxes(written(tmp_path, entry | photo)) == {"a": [BOX]}


@pytest.mark.parametrize("part", PARTS)
def test_a_photo_may_be_named_inside_a_turn(part, tmp_path):
    question = {"role": "user", "content": [part, {"type": "text", "text": "Where?"}]}
    answer = {"role": "assistant", "content": [{"type": "text", "text": GRID.format(TABLE)}]}
    assert boxes(written(tmp_path, {"messages": [question, answer]})) == {"a": [BOX]}


@pytest.mark.parametrize(
    ("key", "role", "content"),
    [("conversations", "from", "value"), ("messages", "role", "content")],
)
@pytest.mark.parametrize("speaker", ["gpt", "assistant", "model"])
def test_answers_of_every_role_are_read_in_all_turns(key, role, content, speaker, tmp_path):
    turns = [
        {role: "system", content: f"Answer like {EXAMPLE}"},
        {role: "user", content: "<image>Where? Like (1,2),(3,4)"},
        {role: speaker, content: GRID.format(TABLE)},
        {role: "user", content: "How much sugar does it contain?"},
        {role: speaker, content: "Twelve grams."},
        {role: "user", content: "And where is it once more, and its text?"},
        {role: speaker, content: GRID.format(TABLE) + GRID.format(TEXT).replace("600", "500")},
    ]
    file = written(tmp_path, {"image": "a.jpg", key: turns})
    assert boxes(file) == {"a": [BOX, [20, 10, 100, 50]]}


ANSWERS = [
    ("(100,100),(600,600)", "no class is named"),
    (f"{TABLE}<box>(100,100),(600,600)</box>", "untuned base"),
    (f"<ref>{TABLE}</ref><box>(100,100),(600,600)</box>", "Qwen-VL"),
    ("It is located at (600,600),(100,100).", "prose, corners swapped"),
    ("(0.1,0.1),(0.6,0.6)", "shares as points"),
    ("[0.1, 0.1, 0.6, 0.6]", "shares as a list"),
    ("The nutrition table: [[0.1, 0.1, 0.6, 0.6]]", "a list of lists"),
    (bbox_2d(0.1, 0.1, 0.6, 0.6), "shares as JSON"),
    (bbox_2d(*BOX), "pixels"),
    (json.dumps({"bbox_2d": BOX, "label": TABLE}), "one object"),
    (json.dumps([{"label": TABLE, "bbox_2d": BOX}]), "no code fence"),
    (bbox_2d(100, 100, 600, 600), "0 to 1000, as it cannot be pixels"),
]


@pytest.mark.parametrize(
    "answer", [answer for answer, _ in ANSWERS], ids=[why for _, why in ANSWERS]
)
def test_every_notation_gives_the_same_box(answer, tmp_path):
    assert boxes(written(tmp_path, chat(answer))) == {"a": [BOX]}


@pytest.mark.parametrize(
    "answer",
    ["", "[]", "```json\n[]\n```", "None", "No.", "There is no nutrition table in this photo.",
     "The photo shows a package without any nutrition table"],
)  # fmt: skip
def test_a_photo_without_a_table_says_so(answer, tmp_path):
    file = written(tmp_path, chat(GRID.format(TABLE)), chat(answer, "b.jpg"))
    assert boxes(file) == {"a": [BOX], "b": []}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("Sorry, I cannot help with that.", "the answer .* holds no box"),
        ("It contains 12 g of sugar.", "holds no box"),
        ("<loc0100><loc0100><loc0600><loc0600> table", "holds no box"),
        ("(100,100),(600", "a box is cut off"),
        ("(100,100),(600,600),(700,700)", "four finite numbers"),
        ("(100,100),(100,600)", "has no area"),
        ('[{"bbox_2d": [20, 10, 120', "no JSON"),
        ('[{"bbox_2d": [20, 10, 120], "label": "nutrition-table"}]', "four finite numbers"),
        ('[{"bbox_2d": [NaN, 10, 120, 60], "label": "nutrition-table"}]', "four finite numbers"),
        ('[{"bbox_2d": [20, 10, 120, 60], "lable": "barcode"}]', "expected bbox_2d and a label"),
        ('[{"box_2d": [20, 10, 120, 60], "label": "nutrition-table"}]', "objects with bbox_2d"),
        ("(100,100),(600,1600)", "is not in steps from 0 to 1000"),
        ("(0.1,0.1),(0.6,0.6)", "is not in steps from 0 to 1000"),
    ],
)
def test_an_answer_that_cannot_be_read_is_no_photo_without_a_table(answer, reason, tmp_path):
    good = [chat(GRID.format(TABLE)) for _ in range(30)]
    file = written(tmp_path, *good, chat(answer, "b.jpg"))
    with pytest.raises(ValueError, match=reason):
        boxes(file)
    skipped = []
    assert len(boxes(file, skipped)) == 30
    assert [(row.id.removesuffix(".jpg"), "b.jpg" in row.error) for row in skipped] == [("b", True)]


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"messages": [QUESTION]}, "lacks image"),
        (chat("", image=["a.jpg", "b.jpg"]), "expected one photo per conversation, got 2"),
        ({"image": "b.jpg", "messages": [QUESTION]}, "no answer in .*b.jpg holds a box"),
        (chat("", "b.jpg") | {"messages": [{"role": "tool"}]}, "a role among .*'tool'"),
        (chat(bbox_2d(1, 1, 9, 9), "b.jpg", width=100, height=200), "drawn on 100 x 200, but"),
    ],
)  # fmt: skip
def test_an_entry_that_cannot_be_read_is_named(entry, reason, tmp_path):
    file = written(tmp_path, chat(GRID.format(TABLE)), entry)
    skipped = []
    assert boxes(file, skipped) == {"a": [BOX]}
    with pytest.raises(ValueError, match=reason):
        raise ValueError(skipped[0].error)


@pytest.mark.parametrize("prefix", ["data:image/jpeg;base64,", ""])
def test_a_photo_inside_the_file_is_refused_in_a_short_sentence(prefix, tmp_path):
    file = written(
        tmp_path, chat(GRID.format(TABLE)), chat(GRID.format(TABLE), f"{prefix}{'/9j' * 900}")
    )
    skipped = []
    assert boxes(file, skipped) == {"a": [BOX]}
    (entry,) = skipped
    assert "a photo lies in the file itself" in entry.error and "save it as a file" in entry.error
    assert len(entry.error) < 300 and len(entry.id) <= 1000


def test_tokens_that_hold_pixels_are_read_as_pixels(tmp_path, caplog):
    file = written(tmp_path, chat("(300,200),(1800,900)"), size=(2000, 1500))
    assert boxes(file) == {"a": [[300, 200, 1800, 900]]}
    assert "reading its points as pixels of the photo as it is" in caplog.text


def test_tokens_that_can_be_nothing_are_refused(tmp_path):
    file = written(tmp_path, chat("(300,200),(1800,900)"), size=(500, 400))
    with pytest.raises(
        ValueError, match="the numbers of its points may be steps from 0 to 1000 or"
    ):
        boxes(file)


def test_tokens_that_never_leave_small_photos_are_refused(tmp_path):
    entries = [chat(f"(20,10),({150 + n},{70 + n})") for n in range(8)]
    with pytest.raises(ValueError, match="may be steps from 0 to 1000 or pixels"):
        boxes(written(tmp_path, *entries))


def test_pixels_of_a_resized_photo_are_scaled_where_its_size_is_stated(tmp_path):
    size = {"resized_width": 1092, "resized_height": 812}
    part = {"type": "image", "image": "a.jpg"} | size
    answer = {"role": "assistant", "content": bbox_2d(109.2, 81.2, 546, 406)}
    file = written(
        tmp_path, {"messages": [{"role": "user", "content": [part]}, answer]}, size=(4000, 3000)
    )
    assert boxes(file) == {"a": [[400, 300, 2000, 1500]]}


@pytest.mark.parametrize("largest", [1000, 1900], ids=["0 to 1000", "resized"])
def test_pixels_that_may_be_of_another_size_are_refused(largest, tmp_path):
    entries = [chat(bbox_2d(100, 100, largest - n, largest - 500 - n)) for n in range(5)]
    file = written(tmp_path, *entries, size=(4000, 3000))
    with pytest.raises(
        ValueError, match="the numbers of its bbox_2d may be steps from 0 to 1000 or"
    ):
        boxes(file)


def test_what_is_assumed_is_said_once(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        boxes(written(tmp_path, chat(bbox_2d(*BOX)), chat(bbox_2d(*BOX), "b.jpg")))
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "reading its bbox_2d as pixels of the photo as it is, not of a resized one",
        "its questions are replaced by the prompt of detection",
    ]


@pytest.mark.parametrize(
    "answer",
    [
        GRID.format(TABLE) + GRID.format("barcode"),
        f"<ref>{TABLE}</ref><box>(100,100),(600,600)</box><ref>barcode</ref><box>(1,2),(3,4)</box>",
        f"{TABLE}(100,100),(600,600) barcode(100,100),(300,300)",
        "The nutrition table is at (100,100),(600,600) and the barcode at (1,2),(3,4)",
        json.dumps([{"bbox_2d": BOX, "label": n} for n in (TABLE, "barcode")]),
    ],
)
def test_another_class_is_no_table(answer, tmp_path):
    rows = load_split(written(tmp_path, chat(answer)), label=TABLE)
    assert rows["label"] == [[TABLE]] and len(rows[0]["xyxy"]) == 1
    # two boxes after one name are two of that class
    twice = "<ref>barcode</ref><box>(1,2),(3,4)</box><box>(5,6),(7,8)</box>"
    file = written(tmp_path, chat(answer), chat(twice, "b.jpg"))
    assert [len(row) for row in load_split(file, label=TABLE)["xyxy"]] == [1, 0]
