"""Names that settings of models may take; this file imports nothing, so that --help is quick."""

DEVICES = ("auto", "cpu", "cuda")
ATTENTIONS = ("sdpa", "eager", "flash_attention_2")
NF4 = "nf4"  # with double quantisation (QLoRA, arXiv:2305.14314): the scales are quantised too
NF4_SINGLE = "nf4-single"  # the scales stay in float32
INT8 = "int8"
NONE = "none"
FOUR_BIT = (NF4, NF4_SINGLE)
QUANTIZATIONS = (*FOUR_BIT, INT8, NONE)
