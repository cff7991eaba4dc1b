"""Triton kernels against the modules of transformers, on a GPU or by Triton's interpreter."""

import json
import os
import subprocess
import sys

import pytest
import torch
from transformers.models.qwen2_vl import modeling_qwen2_vl as qwen2_vl


def test_kernels_compute_what_the_modules_do():
    pytest.importorskip("triton")
    interpreted = {} if torch.cuda.is_available() else {"TRITON_INTERPRET": "1"}
    order = [sys.executable, "-m", "tests.helpers.kernel_errors"]
    done = subprocess.run(order, env=os.environ | interpreted, capture_output=True, text=True)
    errors = json.loads(done.stdout)
    assert len(errors) == 10
    assert max(errors.values()) < 2e-6, errors


def test_the_models_own_modules_are_back_afterwards(demo):
    kernels = pytest.importorskip("nutrition_vl.decoding.kernels.gpu_elementwise")
    before = qwen2_vl.apply_rotary_pos_emb, qwen2_vl.apply_rotary_pos_emb_vision
    layers, blocks = demo.model.config.text_config.num_hidden_layers, demo.model.model.visual.blocks
    assert len(kernels.fused_modules(demo.model)) == 3 * layers + 1 + len(blocks)
    with pytest.raises(ZeroDivisionError), kernels.fused_rotations(demo.model):
        assert qwen2_vl.apply_rotary_pos_emb != before[0]
        1 / 0  # noqa: B018
    assert (qwen2_vl.apply_rotary_pos_emb, qwen2_vl.apply_rotary_pos_emb_vision) == before
