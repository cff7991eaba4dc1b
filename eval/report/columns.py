"""Display names of all numbers, and the columns of each table."""

from collections.abc import Sequence

from eval.metrics.measures import STRICTNESS

NAMES = {
    "mean_iou": "mean IoU",
    "mean_iou_one_to_one": "one-to-one",
    "mean_iou_symmetric": "symmetric",
    "mean_iou_first_box": "first box",
    "mean_iou_per_photo": "per photo",
    "ap": "AP",
    "ap_unranked": "AP without confidence",
    "ap50": "AP50",
    "ap75": "AP75",
    "ar": "AR",
    "false_alarm_rate": "false alarms",
    "malformed_rate": "malformed",
    "seconds_per_photo": "s/photo",
} | {
    f"{name}@{iou:g}": f"{short}@{iou:g}".replace("0.", ".")
    for iou in STRICTNESS
    for name, short in (("precision", "P"), ("recall", "R"), ("f1", "F1"))
}
MAIN = (
    *("precision@0.5", "recall@0.5", "f1@0.5", "f1@0.75", "f1@0.9"),
    *("ap", "false_alarm_rate", "malformed_rate", "seconds_per_photo"),
)
DEFINITIONS = [name for name in NAMES if name.startswith(("mean_iou", "ap", "ar"))]
STRICT = [f"{name}@{iou:g}" for iou in STRICTNESS[1:] for name in ("precision", "recall", "f1")]
# The original notebook's columns and ours.
ORIGINAL = {
    "checkpoint": "name",
    "checkpoint_step": "step",
    "mean_gt_iou": "mean_iou",
    "precision@0.5": "precision@0.5",
    "recall@0.5": "recall@0.5",
    "f1@0.5": "f1@0.5",
}


def headings(columns: Sequence[str]) -> list[str]:
    """Their display names."""
    return [NAMES.get(name, name.replace("_", " ")) for name in columns]
