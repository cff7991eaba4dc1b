"""Merges a trained adapter into its base, and proves that the merged model detects the same.

examples:
  python -m training.merge runs/qlora
  python -m training.merge runs/qlora/checkpoint-271 --out merged --photos my_photos
  python -m training.merge runs/qlora --validate labelled

Merged, the model must find the boxes of base and adapter on every photo. It is saved in the base's
own number type, with greedy decoding as its default. Read back by plain transformers it must find
them on at least half of the photos: a model that is hardly trained wavers with each rounding. The
card has the count. structural_tag.json is the grammar of answers for vLLM and SGLang.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from nutrition_vl.cli import command, described
from nutrition_vl.data.photos import find_photos, open_photo
from nutrition_vl.files import markdown_table, write_atomically

if TYPE_CHECKING:
    from supervision import Detections

    from nutrition_vl.models.checkpoints import Checkpoint

ALIKE = 0.95  # IoU: in bfloat16 merging rounds, and may move an edge by a step of the grid
STRUCTURAL_TAG = "structural_tag.json"
CARD = """
## Merged

The merged model finds the boxes of base and adapter on {count} photos, in plain transformers on
{plain} of them.
Ask with the prompt of `nutrition_vl/prompts.py`; decoding is greedy by default. Servers constrain
answers by [{tag}]({tag}), a structural tag of XGrammar.
{scores}"""


def merge(
    run: str,
    photos: Sequence[Image.Image],
    out: Path,
    shard: str = "50GB",
    device: str = "auto",
    validate: str | None = None,
    split: str = "val",
) -> int:
    """Saves the merged model; returns on how many photos plain transformers agree.

    ValueError, and nothing saved, where it cannot be merged or then detects other boxes.
    """
    # Imported here, as below: it takes seconds, which --help need not wait for.
    from nutrition_vl.data import load_split
    from nutrition_vl.detector import Detector
    from nutrition_vl.models.checkpoints import resolve_adapter
    from nutrition_vl.models.load import attach, load_base, load_processor
    from nutrition_vl.models.runtime import detect_runtime

    checkpoint, adapter = resolve_adapter(run)
    runtime, dtype = detect_runtime(device), _check(checkpoint, out)
    rows = load_split(validate, split) if validate else None
    # 1) base and adapter
    model = load_base(checkpoint.base, runtime, checkpoint.revision, quantization="none")
    adapted, processor = attach(model, adapter, "trained"), load_processor(adapter)
    detector = Detector.around(model, processor)
    before, free = (
        [answer.detections for answer in detector.detect(photos, free=free)]
        for free in (False, True)
    )
    unmerged = _detect(detector, rows)
    # 2) merge: our own decoding finds the same boxes everywhere
    merged = adapted.merge_and_unload()
    after = [answer.detections for answer in detector.detect(photos)]
    if (same := _same(before, after)) < len(photos):
        raise ValueError(f"merged the model finds the same boxes on {same} of {len(photos)} photos")
    # 3) save, and read back by plain transformers, which has no grammar
    merged.to(dtype).generation_config = _greedy(processor.tokenizer)
    try:
        _save(merged, processor, out, shard)
        del merged, adapted, model, detector  # a 7B is in memory once
        plain = _same(free, plain_boxes(out, photos, str(runtime.device)))
        if 2 * plain < len(photos):
            raise ValueError(
                f"in plain transformers the model finds the boxes of base and adapter on {plain} "
                f"of {len(photos)} photos only: nothing was saved"
            )
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise
    # 4) score
    scores = ""
    if rows:
        model = load_base(str(out), replace(runtime, dtype=dtype), quantization="none")
        scores = _scores(rows, unmerged, _detect(Detector.around(model, processor), rows))
    more = CARD.format(count=len(photos), plain=plain, tag=STRUCTURAL_TAG, scores=scores)
    _write_card(out, adapter, more)
    return plain


def _write_card(out: Path, adapter: Path, more: str) -> None:
    """The README of the merged model, as of any checkpoint, with `more` at its end."""
    from nutrition_vl.models.checkpoints import read_card
    from training.run.model_card import README, write_model_card

    write_model_card(out, read_card(adapter), adapter.parent, merged=True)
    text = (out / README).read_text(encoding="utf-8")
    write_atomically(out / README, text + more)


def plain_boxes(folder: Path, photos: Sequence[Image.Image], device: str) -> "list[Detections]":
    """Returns the boxes per photo that plain transformers generates with a model's own defaults."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from nutrition_vl.boxes import from_text
    from nutrition_vl.prompts import ask

    model = AutoModelForImageTextToText.from_pretrained(folder, dtype="auto", device_map=device)
    processor = AutoProcessor.from_pretrained(folder)
    chat = processor.apply_chat_template(ask(), tokenize=False, add_generation_prompt=True)
    boxes = []
    for photo in photos:
        inputs = processor(text=[chat], images=[photo], return_tensors="pt").to(model.device)
        tokens = model.generate(**inputs)[0, inputs["input_ids"].shape[1] :]
        text = processor.tokenizer.decode(tokens, skip_special_tokens=False)
        boxes.append(from_text(text, photo.size).detections)
    return boxes


def alike(one: "Detections", other: "Detections") -> bool:
    """True for the same boxes, but for a step of the grid."""
    from nutrition_vl.matching import iou, is_right

    matches = is_right(iou(one.xyxy, other.xyxy), np.ones(len(other)), ALIKE)
    return len(one) == len(other) == matches.sum()


def _check(checkpoint: "Checkpoint", out: Path) -> Any:
    """The base's own number type; ValueError where it cannot be merged into or `out` is taken."""
    import torch
    from transformers import PreTrainedConfig

    config, _ = PreTrainedConfig.get_config_dict(checkpoint.base, revision=checkpoint.revision)
    if "quantization_config" in config:
        raise ValueError(
            f"{checkpoint.base} is quantised, and what an adapter adds would be rounded away with "
            "it: merge into the base in bfloat16"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is not empty: name another --out")
    return getattr(torch, config.get("dtype") or config.get("torch_dtype") or "bfloat16")


def _greedy(tokenizer: Any) -> Any:
    """Greedy decoding, without the hub's repetition penalty of 1.05, which changes digits."""
    from transformers import GenerationConfig

    from nutrition_vl.decoding.generate import MAX_NEW_TOKENS

    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    tokens = {"max_new_tokens": MAX_NEW_TOKENS, "eos_token_id": end, "pad_token_id": pad}
    return GenerationConfig(do_sample=False, **tokens)


def _save(model: Any, processor: Any, out: Path, shard: str) -> None:
    """Writes model, processor and structural tag; OSError in one sentence on a full disk."""
    from safetensors import SafetensorError

    from nutrition_vl.decoding.structural_tag import structural_tag

    try:
        model.save_pretrained(out, max_shard_size=shard)
        processor.save_pretrained(out)
        tag = json.dumps(structural_tag(processor.tokenizer), indent=1) + "\n"
        write_atomically(out / STRUCTURAL_TAG, tag)
    except (OSError, SafetensorError) as error:
        raise OSError(
            f"the merged model cannot be written to {out} ({error}): make room there or name "
            "another --out"
        ) from error


def _same(before: "list[Detections]", after: "list[Detections]") -> int:
    """The number of photos with the same boxes."""
    return sum(alike(*pair) for pair in zip(before, after, strict=True))


def _detect(detector: Any, rows: Any) -> "list[Detections]":
    """The boxes on labelled photos, if there are any to score on."""
    from nutrition_vl.data.sources import photo_file, undecoded

    photos = map(photo_file, undecoded(rows)["image"]) if rows else ()
    return [result.unwrap().detections for result in detector.stream(photos)]


def _scores(rows: Any, unmerged: "list[Detections]", merged: "list[Detections]") -> str:
    """Base with adapter and merged model on the same photos, as a table with their difference."""
    from training.run.validation import box_scores

    truths = [np.reshape(xyxy, (-1, 4)) for xyxy in rows["xyxy"]]
    both = [box_scores(truths, boxes) for boxes in (unmerged, merged)]
    lines = [
        (name, f"{score['mean_iou']:.3f}", f"{score['f1']:.3f}")
        for name, score in zip(("base and adapter", "merged"), both, strict=True)
    ]
    changes = [f"{both[1][key] - both[0][key]:+.4f}" for key in ("mean_iou", "f1")]
    table = markdown_table(("", "mean IoU", "F1@0.5"), [*lines, ("difference", *changes)])
    same = f"The same boxes on {_same(unmerged, merged)} of {len(truths)} labelled photos."
    return f"\n{table}\n\n{same}\n"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = described("training.merge", __doc__)
    add = parser.add_argument
    add("run", help="demo, a run or a checkpoint")
    add("--out", type=Path, help="folder to make (default: RUN-merged)")
    add("--photos", type=Path, help="folder to prove it on (default: the embedded photos)")
    add("--validate", metavar="SOURCE", help="labelled photos to score both models on")
    add("--split", default="val", help="of these photos (default: val)")
    add("--shard", default="50GB", metavar="SIZE", help="largest file of weights (default: 50GB)")
    add("--device", default="auto", help="auto, cpu or cuda")
    return parser


def _run(options: argparse.Namespace) -> None:
    from nutrition_vl.models.checkpoints import DEMO

    out = options.out or Path(f"{options.run.rstrip('/')}-merged")
    photos = [open_photo(path) for path in find_photos([options.photos or DEMO / "examples"])]
    labelled = options.validate, options.split
    plain = merge(options.run, photos, out, options.shard, options.device, *labelled)
    print(f"merged: {out}, the same boxes as before on {len(photos)} photos")
    print(f"in plain transformers on {plain} of them")


main = command(parser, _run)

if __name__ == "__main__":
    sys.exit(main())
