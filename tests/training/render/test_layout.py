"""The renderer: the same seed gives the same picture, and the masks say where the tables are."""

import numpy as np
import pytest
from PIL import Image

from nutrition_vl.boxes import LABELS
from training.render.faces.faces import BACK, FRONT, face
from training.render.layout import dice, hundred, panels
from training.render.layout.fonts import scripts, typefaces
from training.render.layout.sheets import Line, Pen, _glyphs, block, measure, wrapped
from training.render.layout.words import LANGUAGES
from training.render.negatives.kinds import KINDS
from training.render.package import backs, forms
from training.render.package.backs import EXTRAS
from training.render.package.blocks import Look
from training.render.package.proofs import Proof

pytestmark = pytest.mark.model

SIZE = 192
NAMES = [name for name, layout in panels.LAYOUTS.items() if layout.script in scripts()]


@pytest.fixture(scope="module")
def faces():
    return [face(np.random.default_rng(seed), SIZE) for seed in range(40)]


def test_a_seed_decides_everything(faces):
    again = face(np.random.default_rng(7), SIZE)
    assert again.image.tobytes() == faces[7].image.tobytes()
    assert again.tables.tobytes() == faces[7].tables.tobytes()
    assert again.labels == faces[7].labels
    assert faces[7].image.tobytes() != faces[8].image.tobytes()


def test_faces_have_the_promised_form(faces):
    for drawn in faces:
        assert (drawn.image.mode, drawn.tables.mode) == ("RGBA", "L")
        assert drawn.image.size == drawn.tables.size
        assert max(drawn.image.size) == SIZE
        assert 3 * min(drawn.image.size) >= SIZE - 3
        assert set(drawn.labels) <= set(LABELS)


def test_each_label_has_a_table_inside_the_pack(faces):
    for drawn in faces:
        tables, alpha = np.asarray(drawn.tables), np.asarray(drawn.image)[..., 3]
        assert set(np.unique(tables)) - {0} == set(range(1, len(drawn.labels) + 1))
        for number in range(1, len(drawn.labels) + 1):
            left, top, right, bottom = Image.fromarray(tables == number).getbbox()
            assert (tables[top:bottom, left:right] == number).all(), "a table is a rectangle"
            assert (alpha[tables == number] > 0).mean() > 0.95


def test_with_and_without_tables(faces):
    assert {len(drawn.labels) for drawn in faces} == {0, 1, 2}


def test_something_is_printed_where_the_mask_says(faces):
    for drawn in faces:
        grey, tables = np.asarray(drawn.image.convert("L"), float), np.asarray(drawn.tables)
        for number in range(1, len(drawn.labels) + 1):
            assert grey[tables == number].std() > 2


@pytest.mark.parametrize("name", NAMES)
def test_every_layout_draws(name):
    image, label = panels.panel(np.random.default_rng(3), (200, 40, 40), name)
    assert image.mode == "RGBA"
    assert panels.LONG_SIDE[0] <= max(image.size) <= panels.LONG_SIDE[1]
    assert label in LABELS
    left, top, right, bottom = image.getchannel("A").getbbox()
    assert (right - left) * (bottom - top) > 0.85 * image.width * image.height, (
        "cropped to its hull"
    )


def test_the_classes_are_those_of_the_data_set():
    assert {layout.label for layout in panels.LAYOUTS.values()} == set(LABELS)
    weights = {name: layout.weight for name, layout in panels.LAYOUTS.items()}
    rare = sum(w for name, w in weights.items() if panels.LAYOUTS[name].label != "nutrition-table")
    assert rare <= 0.1 * sum(weights.values())


@pytest.mark.parametrize(
    "block",
    dict.fromkeys([*(kind for kind, _ in BACK + FRONT + EXTRAS), forms.receipt, forms.parcel]),
    ids=lambda block: block.__name__,
)
@pytest.mark.parametrize("size", [(12, 150), (150, 12), (120, 90)])
def test_every_block_fits_any_tile(block, size):
    look = Look((255, 255, 255), (0, 0, 0), LANGUAGES["en"], 8.0)
    tile = Image.new("RGB", size, look.ground)
    block(np.random.default_rng(1), tile, look)
    assert tile.size == size


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_negative_is_a_full_picture_without_a_table(kind):
    drawn = face(np.random.default_rng(11), SIZE, kind)
    assert max(drawn.image.size) == pytest.approx(SIZE, abs=2)
    assert drawn.labels == () and not np.asarray(drawn.tables).any()
    assert np.asarray(drawn.image.convert("L"), float).std() > 5, "something is printed"


@pytest.mark.parametrize("kind", [name for name in ("korean_box", "brazil_2022") if name in NAMES])
def test_a_face_of_a_layout_has_one_such_table(kind):
    drawn = face(np.random.default_rng(4), SIZE, kind)
    assert drawn.labels == ("nutrition-table",)


def test_cooking_tables_are_drawn():
    look = Look((255, 255, 255), (0, 0, 0), LANGUAGES["en"], 8.0)
    tile = Image.new("RGB", (200, 120), look.ground)
    forms.other_table(np.random.default_rng(0), tile, look)
    assert np.asarray(tile).min() < 128


def test_values_are_written_as_the_country_does():
    drawn = {dice.amount(np.random.default_rng(seed), 40, 1, comma=True) for seed in range(20)}
    assert not any("." in value for value in drawn)
    assert any("," in value for value in drawn)


def test_bold_words_count_when_lines_are_broken():
    pen = Pen(typefaces("latin")[0], 11)
    lines = wrapped("`Total Fat` 8g, `Total Carbohydrate` 37g, `Protein` 3g, " * 3, pen, 11, 120)
    assert len(lines) > 3
    assert max(measure(line, pen, 11) for line in lines) <= 121


@pytest.mark.parametrize("number", [0, 1, 2])
def test_backs_are_full_of_text_in_the_style_of_the_table(number):
    look = Look((245, 245, 240), (20, 20, 20), LANGUAGES["en"], 8.0)
    for seed in range(8):
        text = backs.Text(np.random.default_rng(seed), look, number)
        image, tables = Image.new("RGB", (192, 256), look.ground), Image.new("L", (192, 256))
        proof = Proof(image, tables, look, ())
        text.print(proof, (4, 4, 188, 252), text.tables)
        assert len(proof.labels) == number
        assert set(np.unique(np.asarray(tables))) == set(range(number + 1))
        around = np.asarray(image.convert("L"), float)[np.asarray(tables) == 0]
        assert around.std() > 5


def test_a_table_in_the_style_of_the_text_has_no_paper():
    style = panels.Style(3, (200, 30, 40), 1.2)
    image, _ = panels.panel(np.random.default_rng(5), (250, 250, 250), "hundred_fr", style)
    shown = np.asarray(image).reshape(-1, 4)
    assert (shown[:, 3] < 128).mean() > 0.5, "the pack shows through"
    assert np.abs(shown[shown[:, 3] == 255][:, :3] - np.array(style.ink)).min() == 0


def test_rows_in_several_languages_keep_one_rule_and_their_values():
    words = [LANGUAGES[code] for code in ("de", "fr", "it")]
    row = Line(("Eiweiß", "7,0 g", "2,1 g"), True, rule=0.02, ground="tint")
    rows = hundred._translated(row, words, 2)
    assert [line.cells for line in rows] == [
        ("Eiweiß", "7,0 g", "2,1 g"), ("Protéines", "", ""), ("Proteine", "", "")
    ]  # fmt: skip
    assert [line.rule for line in rows] == [0.0, 0.0, 0.02]
    assert {line.ground for line in rows} == {"tint"}


def test_european_layouts_can_be_asked_for():
    names = {panels.layouts(np.random.default_rng(seed), european=True) for seed in range(200)}
    assert {"multilingual", "bilingual"} < names
    assert all(name.startswith(panels.PER_HUNDRED) for name in names)
    assert panels.language_of("hundred_pl") == "pl"


def test_dotted_rules_are_dots():
    line, pen = Line(("Salt", "1 g"), rule=0.02), Pen(typefaces("latin")[0], 11, dotted=True)
    bottom = np.asarray(block([line], pen, 90).getchannel("A"))[-1]
    assert (bottom > 0).sum() == 30


def test_nothing_of_a_glyph_is_cut_off():
    face = typefaces("latin")[0]
    for size in (6, 11, 31):
        mask, left, top = _glyphs(face, size, True, "jÅgÇf")
        exact = face.font(size, True).getmask("jÅgÇf", "L")
        found = mask.getbbox()
        assert (found[2] - found[0], found[3] - found[1]) == exact.getbbox()[2:]
        assert found[0] > 0 and found[2] < mask.width and left < 0 and top < 0
