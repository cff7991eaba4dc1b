"""Names and defaults of settings of models; this file imports nothing, so that --help is quick."""

DEVICES = ("auto", "cpu", "cuda")
ATTENTIONS = ("sdpa", "eager", "flash_attention_2")
NF4 = "nf4"  # with double quantisation (QLoRA, arXiv:2305.14314): the scales are quantised too
NF4_SINGLE = "nf4-single"  # the scales stay in float32
INT8 = "int8"
NONE = "none"
FOUR_BIT = (NF4, NF4_SINGLE)
QUANTIZATIONS = (*FOUR_BIT, INT8, NONE)
DECODERS = ("fast", "generate")
DETECTION_ATTENTIONS = ("math", "sdpa")
# The default of command, page and eval. F1 is maximal at a threshold of half the maximum (Lipton et
# al. 2014, arXiv:1402.1892): 0.48 where F1 is 0.96. It was chosen lower, by 117 real photos.
THRESHOLD = 0.4


def check_choice(setting: str, value: str, choices: tuple[str, ...]) -> str:
    """The value, if it is one of the choices; ValueError otherwise."""
    if value not in choices:
        raise ValueError(f"unknown {setting} {value!r}: use one of {', '.join(choices)}")
    return value
