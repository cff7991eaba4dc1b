"""What is chosen on which machine; the GPUs are described to PyTorch, not there."""

import pytest
import torch

from nutrition_vl.models.runtime import detect_runtime, use_expandable_segments


@pytest.fixture
def gpu(monkeypatch):
    """Makes PyTorch report a GPU of the given compute capability."""

    def plug_in(*capability):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Test GPU")
        monkeypatch.delenv("LOCAL_RANK", raising=False)

    return plug_in


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_without_a_gpu_it_is_float32_on_the_cpu(no_gpu):
    runtime = detect_runtime()
    assert (runtime.device, runtime.dtype) == (torch.device("cpu"), torch.float32)
    assert (runtime.attention, runtime.optimizer) == ("sdpa", "adamw_torch")
    assert "no CUDA GPU found" in runtime.reason


@pytest.mark.parametrize("capability", [(8, 0), (8, 9), (9, 0), (12, 0)])
def test_a_new_gpu_runs_bfloat16(gpu, capability):
    gpu(*capability)
    runtime = detect_runtime()
    assert (runtime.device, runtime.dtype) == (torch.device("cuda:0"), torch.bfloat16)
    assert (runtime.attention, runtime.optimizer) == ("sdpa", "paged_adamw_8bit")
    assert "Test GPU" in runtime.reason


@pytest.mark.parametrize("capability", [(6, 1), (7, 0), (7, 5)])
def test_an_old_gpu_detects_in_float16_and_says_why_it_cannot_train(gpu, capability):
    gpu(*capability)
    runtime = detect_runtime()
    assert (runtime.dtype, runtime.optimizer) == (torch.float16, None)
    assert "training needs bfloat16" in runtime.reason


def test_each_process_of_a_launcher_takes_its_own_gpu(gpu, monkeypatch):
    gpu(9, 0)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert detect_runtime("cuda").device == torch.device("cuda:3")


def test_the_cpu_can_be_asked_for_beside_a_gpu(gpu):
    gpu(9, 0)
    assert detect_runtime("cpu").device == torch.device("cpu")


def test_flash_attention_only_where_it_is_asked_for_and_runs(gpu):
    gpu(9, 0)
    assert detect_runtime(attention="flash_attention_2").attention == "flash_attention_2"
    with pytest.raises(ValueError, match="needs a CUDA GPU"):
        detect_runtime("cpu", "flash_attention_2")
    gpu(7, 5)
    with pytest.raises(ValueError, match=r"needs compute capability 8\.0"):
        detect_runtime("cuda", "flash_attention_2")


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"device": "cuda"}, "there is no CUDA GPU"),
        ({"device": "tpu"}, "unknown device 'tpu': use one of auto, cpu, cuda"),
        ({"attention": "flash"}, "unknown attention 'flash': use one of sdpa"),
    ],
)
def test_what_cannot_be_had_is_refused(no_gpu, choice, message):
    with pytest.raises(ValueError, match=message):
        detect_runtime(**choice)


@pytest.mark.parametrize("name", [None, "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"])
def test_blocks_grow_unless_the_environment_sets_the_allocator_up(name, monkeypatch):
    said, real = [], torch._C._accelerator_setAllocatorSettings  # which refuses words it knows not
    monkeypatch.setattr(
        torch._C,
        "_accelerator_setAllocatorSettings",
        lambda words: (said.append(words), real(words)),
    )
    for variable in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"):
        monkeypatch.delenv(variable, raising=False)
    if name:
        monkeypatch.setenv(name, "max_split_size_mb:64")
    use_expandable_segments()
    assert said == ([] if name else ["expandable_segments:True"])
