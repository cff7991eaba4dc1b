"""Reads conversations whose answers hold boxes."""

from pathlib import Path

from nutrition_vl.boxes import EXAMPLE, from_text
from nutrition_vl.data.rows import Sample, Skipped, attempt, naming, of_split, require


def read_conversations(
    file: Path, entries: list[dict], split: str, skipped: list[Skipped] | None = None
) -> list[Sample]:
    """Chats, [{"image": ..., "conversations" or "messages": [...]}], with boxes in the answers."""
    read = [
        attempt(skipped, entry.get("image"), _conversation, entry, file)
        for entry in of_split(entries, split, file)
    ]
    samples = [sample for sample in read if sample]
    if samples and not any(sample.xyxy for sample in samples):
        raise ValueError(f"no answer in {file} holds a box; one is written {EXAMPLE}")
    return samples


def _conversation(entry: dict, file: Path) -> Sample:
    chat = "conversations" if "conversations" in entry else "messages"
    require(("image", chat), entry, file)
    with naming(f"{file}, {entry['image']}"):
        said = [_said(turn) for turn in entry[chat] if _speaker(turn) in ("gpt", "assistant")]
        image = file.parent / entry["image"]
        parsed = from_text("\n".join(said), (1, 1))
    return Sample(
        id=image.stem,
        image=str(image),
        xyxy=parsed.detections.xyxy.tolist(),
        labels=list(parsed.detections.data["class_name"]),
        malformed=parsed.malformed,
    )


def _speaker(turn: dict) -> str | None:
    return turn.get("role") or turn.get("from")


def _said(turn: dict) -> str:
    content = turn.get("content") or turn.get("value") or ""
    return (
        content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
    )
