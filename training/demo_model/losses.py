"""Pre-trains the embedded base from nothing on rendered photos, with helper losses that only exist
here.

They ask each visual token whether it lies inside a table and how far the four sides are (as in
FCOS, Tian et al. 2019, arXiv:1904.01355), and each language state at a visual token where in the
picture it is, so that the answer's few digits are not all there is to learn from.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nutrition_vl import boxes, prompts
from nutrition_vl.models.family import Model, Processor
from training.render.camera.scenes import Scene

IGNORE = -100  # cross entropy skips it
DECISION = 4.0  # times a digit's weight


def encode(visual: nn.Module, pixels: Tensor) -> Tensor:
    """The vision tower over a batch of equal pictures: (B, 3, H, W) normalised -> (B, tokens,
    width).

    Same weights and result as `visual(pixel_values, grid_thw)`, which loops over pictures in
    Python; the rotary table is computed once for the shape.
    """
    patch, merge = visual.patch_embed.patch_size, visual.spatial_merge_size
    count, channels, height, width = pixels.shape
    rows, columns = height // patch, width // patch
    blocks = pixels.view(
        count, channels, rows // merge, merge, patch, columns // merge, merge, patch
    )
    patches = blocks.permute(0, 2, 5, 3, 6, 1, 4, 7).reshape(count, rows * columns, -1)
    # A still picture fills both frames of a temporal patch: one product with the summed kernel.
    kernel = visual.patch_embed.proj.weight.sum(2).flatten(1)
    states = functional.linear(patches, kernel)
    cosine, sine = _rotary(visual, rows, columns, pixels.device)
    for block in visual.blocks:
        states = _layer(block, states, cosine, sine)
    return visual.merger(states.flatten(0, 1)).view(count, rows * columns // merge**2, -1)


def _rotary(
    visual: nn.Module, rows: int, columns: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    merge = visual.spatial_merge_size
    y, x = torch.meshgrid(
        torch.arange(rows, device=device), torch.arange(columns, device=device), indexing="ij"
    )
    place = torch.stack([y, x], -1).view(rows // merge, merge, columns // merge, merge, 2)
    place = place.permute(0, 2, 1, 3, 4).reshape(-1, 2)
    inverse = visual.rotary_pos_emb.inv_freq.to(device)
    angle = (place[..., None] * inverse).flatten(1)
    angle = torch.cat([angle, angle], -1)
    return angle.cos(), angle.sin()


# Fuses a layer's many small operations, which take a GPU most of its time.
@torch.compile(disable=not torch.cuda.is_available())
def _layer(block: nn.Module, states: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    states = states + _attend(block.attn, block.norm1(states), cosine, sine)
    return states + block.mlp(block.norm2(states))


def _attend(attention: nn.Module, states: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    count, length, width = states.shape
    qkv = attention.qkv(states).view(count, length, 3, attention.num_heads, -1)
    query, key, value = qkv.permute(2, 0, 3, 1, 4)
    query, key = (turn(part, cosine, sine) for part in (query, key))
    mixed = functional.scaled_dot_product_attention(query, key, value.to(query.dtype))
    return attention.proj(mixed.transpose(1, 2).reshape(count, length, width))


def turn(states: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotary embedding of (..., length, head) states by the angles' (length, head) cosine and
    sine."""
    left, right = states.float().chunk(2, -1)
    turned = states * cosine + torch.cat([-right, left], -1) * sine
    return turned.to(states.dtype)


@dataclass(frozen=True)
class Batch:
    """`ids` and `labels` (B, L); the picture's tokens stand at `image` (a slice of L)."""

    ids: Tensor
    labels: Tensor
    image: slice
    positions: Tensor


class Writer:
    """Turns scenes into token batches: one prompt, many answers."""

    def __init__(self, processor: Processor, model: Model):
        self.tokenizer, self.model = processor.tokenizer, model
        prompt = processor.apply_chat_template(prompts.ask(), add_generation_prompt=True)
        before, after = prompt.split(processor.image_token)
        self.before, self.after = self._ids(before), self._ids(after)
        self.image_token: int = processor.image_token_id
        self.end = self._ids("<|im_end|>")

    def _ids(self, text: Any) -> Any:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def write(self, scene: Scene) -> Batch:
        """Prompts and answers of a scene, right-padded, with labels on the answers alone."""
        height, width = (side // 28 for side in scene.pixels.shape[-2:])
        device = scene.pixels.device
        prompt = self.before + [self.image_token] * (height * width) + self.after
        question = torch.tensor(prompt, device=device).expand(len(scene.boxes), -1)
        answers = self._answers(scene).to(device)
        padded = torch.where(answers < 0, self.tokenizer.pad_token_id, answers)
        image = slice(len(self.before), len(self.before) + height * width)
        tokens = torch.cat([question, padded], 1)
        labels = torch.cat([torch.full_like(question, IGNORE), answers], 1)
        positions = self._positions(tokens[:1], height, width).expand(-1, len(tokens), -1)
        return Batch(tokens, labels, image, positions)

    def _answers(self, scene: Scene) -> Tensor:
        """The words of each photo and the end, filled up with IGNORE."""
        grid = (scene.boxes * boxes.GRID).round().nan_to_num(-1).int().tolist()
        texts = [_text(box, label) for box, label in zip(grid, scene.labels.tolist(), strict=True)]
        rows = [torch.tensor(ids + self.end) for ids in self._ids(texts)]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=IGNORE)

    def _positions(self, ids: Tensor, height: int, width: int) -> Tensor:
        grid = torch.tensor([[1, height * 2, width * 2]], device=ids.device)
        kinds = (ids == self.image_token).int()
        return self.model.model.get_rope_index(ids, mm_token_type_ids=kinds, image_grid_thw=grid)[0]


def _text(grid: list[list[int]], labels: list[int]) -> str:
    pairs = [(box, boxes.LABELS[k]) for box, k in zip(grid, labels, strict=True) if box[2] > 0]
    detections = boxes.make_detections([box for box, _ in pairs], [name for _, name in pairs])
    return boxes.to_text(detections, (boxes.GRID, boxes.GRID))


class Helpers(nn.Module):
    """Heads that are thrown away after pre-training."""

    def __init__(self, width: int):
        super().__init__()
        self.inside = nn.Linear(width, 1)
        self.sides = nn.Linear(width, 4)
        self.place = nn.Linear(width, 6)

    def vision_loss(self, tokens: Tensor, scene: Scene) -> Tensor:
        """Loss of visual tokens (B, T, width): inside a table, and how far its four sides are."""
        centre = _centres(scene.pixels)
        inside, box = _owner(centre, scene.boxes)
        distances = torch.cat([centre - box[..., :2], box[..., 2:] - centre], -1)
        guess = self.sides(tokens).float()
        loss = functional.binary_cross_entropy_with_logits(
            self.inside(tokens).float().squeeze(-1), inside.float()
        )
        return loss + 4 * _mean((guess - distances).abs().mean(-1), inside)

    def language_loss(self, states: Tensor, scene: Scene) -> Tensor:
        """Loss of the language model's states at visual tokens (B, T, width): place and box."""
        centre = _centres(scene.pixels)
        inside, box = _owner(centre, scene.boxes)
        where = self.place(states).float()
        loss = 2 * (where[..., :2] - centre).abs().mean()
        return loss + 4 * _mean((where[..., 2:] - box).abs().mean(-1), inside)


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    return (values * chosen).sum() / chosen.sum().clamp_min(1)


def _centres(pixels: Tensor) -> Tensor:
    rows, columns = (side // 28 for side in pixels.shape[-2:])
    y = (torch.arange(rows, device=pixels.device) + 0.5) / rows
    x = (torch.arange(columns, device=pixels.device) + 0.5) / columns
    y, x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([x, y], -1).view(1, -1, 2)


def _owner(centre: Tensor, tables: Tensor) -> tuple[Tensor, Tensor]:
    """Per token centre (1, T, 2): a mask of those in a table (B, K, 4), and its box (B, T, 4)."""
    low, high = tables[:, None, :, :2], tables[:, None, :, 2:]
    hit = ((centre[:, :, None] >= low) & (centre[:, :, None] <= high)).all(-1)
    which = hit.int().argmax(-1)
    box = tables.nan_to_num().gather(1, which[..., None].expand(-1, -1, 4))
    return hit.any(-1), box


def visual_tokens(model: Model, scene: Scene) -> Tensor:
    """The visual tokens (B, T, width) of a scene."""
    return encode(model.model.visual, _normalise(scene.pixels))


def loss_of(model: Model, helpers: Helpers, scene: Scene, batch: Batch) -> tuple[Tensor, Tensor]:
    """Next-token loss on the answers, and the helper losses."""
    core = model.model
    visual = visual_tokens(model, scene)
    embedded = core.language_model.embed_tokens(batch.ids)
    before, after = embedded[:, : batch.image.start], embedded[:, batch.image.stop :]
    embedded = torch.cat([before, visual.to(embedded.dtype), after], 1)
    states = core.language_model(
        inputs_embeds=embedded, position_ids=batch.positions, use_cache=False
    ).last_hidden_state
    start = int((batch.labels[0] != IGNORE).int().argmax())
    logits = model.lm_head(states[:, start - 1 : -1]).float()
    words = answer_loss(logits, batch.labels[:, start:])
    return words, helpers.vision_loss(visual, scene) + helpers.language_loss(
        states[:, batch.image], scene
    )


def answer_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy (B, L) of the answers' tokens, each as heavy as DECISION where a token says
    that there is a table, another one, or none.

    Every answer has some twenty tokens of digits to one that decides whether a box is drawn.
    """
    losses = functional.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE, reduction="none"
    ).view_as(labels)
    weights = (labels != IGNORE).float()
    last = weights.sum(1, keepdim=True).long() - 1
    weights.scatter_(1, last, DECISION)
    weights[:, 0] = DECISION
    return (losses * weights).sum() / weights.sum()


MEAN = (0.48145466, 0.4578275, 0.40821073)  # OpenAI CLIP's, as in Qwen2VLImageProcessor
STD = (0.26862954, 0.26130258, 0.27577711)


def _normalise(pixels: Tensor) -> Tensor:
    mean = torch.tensor(MEAN, device=pixels.device).view(1, 3, 1, 1)
    return (pixels - mean) / torch.tensor(STD, device=pixels.device).view(1, 3, 1, 1)
