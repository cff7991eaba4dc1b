"""Visual features computed once: the same batches, loss and gradients, and never stale ones."""

import json
import resource
from dataclasses import replace

import pytest
import torch
from peft import get_peft_model

from nutrition_vl.data import load_split
from nutrition_vl.data.sources import photo_hashes
from nutrition_vl.models.checkpoints import DEMO
from nutrition_vl.models.load import PixelBudget, budget_of, load_base, load_processor
from nutrition_vl.models.runtime import detect_runtime
from tests.helpers.labelled import label, paint
from training.examples.cached_collator import Embedder
from training.examples.examples import Collator, to_example, with_features
from training.examples.feature_cache import Features, compute, open_features
from training.examples.resized_photos import ResizedPhotos
from training.fast_step.answer_loss import fused_output
from training.settings.recipes import RECIPES, lora_config

TABLE = (0.25, 0.25, 0.75, 0.5)
BOXES = [[TABLE], [], [TABLE, (0.1, 0.6, 0.4, 0.9)], [TABLE]]


@pytest.fixture(scope="module")
def model():
    return load_base(DEMO, detect_runtime("cpu"))


@pytest.fixture(scope="module")
def processor():
    return load_processor(DEMO, PixelBudget(max_tokens=20))


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = label(tmp_path_factory.mktemp("data") / "set", BOXES)
    paint((84, 140), BOXES[0], seed=9).save(folder / "images" / "pack1.jpg")  # of another shape
    rows = load_split(folder, "train")
    return rows.add_column("photo", photo_hashes(rows))


@pytest.fixture
def seen(model, processor, rows, tmp_path):
    """The features of all photos, and the photos' hashes."""
    photos = photo_hashes(rows)
    found = open_features(tmp_path, model, processor)
    compute(found, rows, model, processor)
    return found, photos


@pytest.mark.parametrize("answer_only", [True, False])
def test_a_batch_is_the_same_from_features_as_from_photos(
    model, processor, rows, seen, answer_only
):
    found, _ = seen
    words = model.get_input_embeddings().weight.detach()
    collate = Embedder(processor, found, words, model, answer_only)
    embedded = collate(list(with_features(rows)))
    batch = Collator(processor, completion_only_loss=answer_only)(
        [to_example(row, processor) for row in rows]
    )
    for key in ("labels", "attention_mask"):
        assert embedded[key].equal(batch[key])
    assert embedded["photos"] == batch.pop("photos") == ["pack0", "pack1", "pack2", "pack3"]
    adapted = get_peft_model(model, lora_config(RECIPES["exp1a"], 0.0, "none"))
    results = []
    for inputs in (batch, embedded):
        inputs = {key: value for key, value in inputs.items() if key != "photos"}
        told = fused_output(model, inputs.pop("labels"), inputs)
        adapted.zero_grad()
        (-told.log_probs.mean()).backward()
        learned = [weight.grad for weight in adapted.parameters() if weight.requires_grad]
        results.append((told, learned))
    adapted.unload()
    (plain, wanted), (cached, gradients) = results
    torch.testing.assert_close(cached.log_probs, plain.log_probs)
    for one, other in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_photos_are_seen_once_and_never_again(model, processor, rows, seen, monkeypatch):
    found, photos = seen
    monkeypatch.setattr(model, "get_image_features", None)
    compute(found, rows, model, processor)
    again = open_features(found.folder.parent, model, processor)
    assert again[photos[2]][0].equal(found[photos[2]][0])
    assert again[photos[2]][1].tolist() == [1, 6, 8]


def test_equal_photos_share_their_features(model, processor, rows, seen):
    found, photos = seen
    twice = rows.select([0, 0])
    assert photo_hashes(twice) == [photos[0]] * 2
    assert len(found.index.read_text().splitlines()) == len(set(photos))


def test_a_run_that_was_killed_goes_on(model, processor, rows, seen):
    found, photos = seen
    whole = [found[photo][0].clone() for photo in photos]
    lines = found.index.read_text().splitlines(keepends=True)
    found.index.write_text("".join(lines[:2]) + lines[2][:20])  # in the middle of a line
    again = open_features(found.folder.parent, model, processor)
    assert [photo in again for photo in photos] == [True, True, False, False]
    compute(again, rows, model, processor)
    third = open_features(found.folder.parent, model, processor)
    for features in (again, third):
        assert all(features[one][0].equal(kept) for one, kept in zip(photos, whole, strict=True))
    added = [json.loads(line)["photo"] for line in again.index.read_text().splitlines()]
    assert added == photos[2:]


def test_what_makes_other_features_has_a_folder_of_its_own(model, processor, seen, tmp_path):
    folders = {seen[0].folder}
    larger = load_processor(DEMO, replace(PixelBudget(), max_tokens=30))
    folders.add(open_features(tmp_path, model, larger).folder)
    bias = model.model.visual.merger.mlp[2].bias
    before = bias.data.clone()
    bias.data[3] += 0.01
    folders.add(open_features(tmp_path, model, processor).folder)
    bias.data = before
    folders.add(open_features(tmp_path, model, processor).folder)
    assert len(folders) == 3


def test_features_keep_their_type(tmp_path):
    kept = Features(tmp_path, 4, torch.bfloat16)
    rows = torch.randn(3, 4, dtype=torch.bfloat16)
    kept.add(["a", "b"], [rows[:2], rows[2:]], torch.tensor([[1, 2, 4], [1, 2, 2]]))
    reopened = Features(tmp_path, 4, torch.bfloat16)
    assert reopened["a"][0].equal(rows[:2]) and reopened["b"][0].equal(rows[2:])
    assert kept.data.stat().st_size == 3 * 4 * 2
    assert "c" not in kept


def opened(folder):
    return Features(folder, 4, torch.float32)


def add(features, photo):
    """Features that tell whose they are."""
    rows = torch.full((photo + 1, 4), float(photo))
    features.add([str(photo)], [rows], torch.tensor([[1, 2, 2]]))


def right(features, photos):
    """Whether these photos, and no others, have what `add` gives them."""
    wanted = {str(photo): [[photo] * 4] * (photo + 1) for photo in photos}
    return wanted == {photo: features[photo][0].tolist() for photo in features.blocks}


def test_runs_that_take_turns_keep_their_features_apart(tmp_path):
    one, other = opened(tmp_path), opened(tmp_path)
    for photo in range(6):
        add((one, other)[photo % 2], photo)
        assert right((one, other)[photo % 2], range(photo % 2, photo + 1, 2))
    add(other, 0)  # which the one has too
    assert right(one, [0, 2, 4]) and right(other, [0, 1, 3, 5])
    assert right(opened(tmp_path), range(6))


def test_what_a_run_said_by_halves_when_it_was_killed_is_made_anew(tmp_path):
    killed = opened(tmp_path)
    add(killed, 1), add(killed, 2)
    with killed.index.open("a") as file:
        file.write('{"photo": "3", "sta')
    with killed.data.open("ab") as file:
        file.write(b"not a row")
    on = opened(tmp_path)
    assert right(on, [1, 2])
    add(on, 3)
    assert right(on, [1, 2, 3]) and right(opened(tmp_path), [1, 2, 3])


def truncated(file, row_bytes):
    file.write_bytes(file.read_bytes()[: -row_bytes // 2])


def zeroed(file, row_bytes):
    whole = file.read_bytes()
    file.write_bytes(whole[:-row_bytes] + bytes(row_bytes))


def not_finite(file, row_bytes):
    values = torch.frombuffer(bytearray(file.read_bytes()), dtype=torch.float32)
    values[-1] = torch.nan
    file.write_bytes(values.numpy().tobytes())


@pytest.mark.parametrize("damage", [truncated, zeroed, not_finite])
def test_a_damaged_block_is_computed_again_and_named(
    damage, model, processor, rows, seen, tmp_path, caplog
):
    found, photos = seen
    wanted = [found[photo][0].clone() for photo in photos]
    damage(found.data, found.width * found.dtype.itemsize)
    again = open_features(tmp_path, model, processor)
    compute(again, rows, model, processor)
    (named,) = caplog.messages
    assert named.startswith("the cached features of pack3 are ")
    assert [json.loads(line)["photo"] for line in again.index.open()] == photos[3:]
    for features in (again, open_features(tmp_path, model, processor)):
        for photo, block in zip(photos, wanted, strict=True):
            torch.testing.assert_close(features[photo][0], block)


@pytest.mark.parametrize("change", [{"end": 5}, {"grid": [1, 2]}, {"grid": None}, {"crc32": 1}])
def test_a_block_that_differs_from_its_line_in_the_index_is_dropped(
    change, model, processor, rows, seen, tmp_path
):
    found, photos = seen
    lines = [json.loads(line) for line in found.index.open()]
    lines[1] |= change
    found.index.write_text("".join(json.dumps(line) + "\n" for line in lines))
    again = open_features(tmp_path, model, processor)
    assert [*again.drop_damaged(photos)] == [photos[1]]
    assert [photo in again for photo in photos] == [True, False, True, True]


def test_a_photo_without_finite_features_stops_and_is_named(model, processor, rows, tmp_path):
    bias = model.model.visual.merger.mlp[2].bias
    before = bias.data.clone()
    bias.data[0] = torch.nan
    try:
        with pytest.raises(FloatingPointError, match="numbers for pack0 that are not finite"):
            compute(open_features(tmp_path, model, processor), rows, model, processor)
    finally:
        bias.data = before


def test_photos_that_the_checks_resized_are_not_opened_again(
    model, processor, rows, seen, tmp_path, monkeypatch
):
    found, photos = seen
    resized, budget = ResizedPhotos(tmp_path), budget_of(processor)
    for row in rows:
        resized.add(row["photo"], budget.fit(row["image"], processor.image_processor))
    monkeypatch.setattr("nutrition_vl.data.load.open_photo", None)
    again = open_features(tmp_path / "new", model, processor)
    compute(again, rows, model, processor, resized)
    for photo in photos:
        assert again[photo][0].equal(found[photo][0])


@pytest.fixture
def small_files():
    """No file may grow beyond 10,000 bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_keeps_the_resized_photos_that_fit(tmp_path, small_files):
    resized, photo = ResizedPhotos(tmp_path), paint((40, 50), [TABLE], seed=1)  # 6,000 bytes
    resized.add("first", photo), resized.add("second", photo)
    assert resized.get("first").tobytes() == photo.tobytes()
    assert resized.get("second") is None


def test_a_disk_that_is_too_full_for_features_is_named(tmp_path, small_files):
    with pytest.raises(OSError, match=f"{tmp_path} .*make room there, name another --features_dir"):
        add(opened(tmp_path), 999)
