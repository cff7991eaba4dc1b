"""The embedded checkpoint's architecture and tokenizer: a small Qwen2-VL of the ordinary classes.

Every size is a multiple of 64 so that NF4's blocks of 64 weights are full.
"""

from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Qwen2TokenizerFast,
    Qwen2VLConfig,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
)

from nutrition_vl import prompts
from nutrition_vl.boxes import EXAMPLE, LABELS

# Qwen2-VL's special tokens, in the order of their ids (tokenizer_config.json of
# Qwen/Qwen2-VL-7B-Instruct).
SPECIAL_TOKENS = tuple(
    f"<|{name}|>"
    for name in (
        "endoftext im_start im_end object_ref_start object_ref_end box_start box_end "
        "quad_start quad_end vision_start vision_end vision_pad image_pad video_pad"
    ).split()
)

# Qwen2's pre-tokenizer: words with their space, digits one by one, runs of punctuation.
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# The chat template of Qwen/Qwen2-VL-7B-Instruct (Apache-2.0).
CHAT_TEMPLATE = Path(__file__).with_name("chat_template.jinja").read_text(encoding="utf-8")


def tokenizer() -> Qwen2TokenizerFast:
    """A byte-level BPE of Qwen2's form whose merges cover our prompt and the answers alone."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    corpus = [prompts.SYSTEM, prompts.USER, EXAMPLE, *LABELS]
    corpus += ["system\n", "user\n", "assistant\n", "(0,1),(2,3)"]
    trainer = trainers.BpeTrainer(
        vocab_size=1024 - len(SPECIAL_TOKENS),
        min_frequency=1,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(corpus, trainer)
    bpe.add_special_tokens(list(SPECIAL_TOKENS))
    return Qwen2TokenizerFast(
        tokenizer_object=bpe,
        unk_token=None,
        bos_token=None,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE,
        padding_side="left",
    )


def processor(max_tokens: int) -> Qwen2VLProcessor:
    """Qwen2-VL's own processor over the small tokenizer, with a budget of image tokens."""
    # Smaller photos are enlarged: the model's last lessons are all of the full size.
    pixels = {"min_pixels": max_tokens * 2 // 3 * 28**2, "max_pixels": max_tokens * 28**2}
    return Qwen2VLProcessor(
        image_processor=Qwen2VLImageProcessor(**pixels),
        video_processor=Qwen2VLVideoProcessor(**pixels),
        tokenizer=tokenizer(),
        chat_template=CHAT_TEMPLATE,
    )


def config(words: Qwen2TokenizerFast) -> Qwen2VLConfig:
    """13 M parameters: 8 vision blocks and 6 language layers of width 256."""
    ids = {
        name: words.convert_tokens_to_ids(f"<|{name}|>")
        for name in ("im_end", "endoftext", "vision_start", "vision_end", "image_pad", "video_pad")
    }
    vocabulary = 64 * -(-len(words) // 64)
    text = {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 6}
    text |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096}
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [8, 12, 12]}
    ends = {"bos_token_id": None, "eos_token_id": ids["im_end"], "pad_token_id": ids["endoftext"]}
    tied = {"tie_word_embeddings": True}
    return Qwen2VLConfig(
        text_config=text | ends | tied | {"vocab_size": vocabulary, "rope_parameters": rope},
        vision_config={"depth": 8, "embed_dim": 256, "hidden_size": 256, "num_heads": 4},
        image_token_id=ids["image_pad"],
        video_token_id=ids["video_pad"],
        vision_start_token_id=ids["vision_start"],
        vision_end_token_id=ids["vision_end"],
        **tied,
    )
