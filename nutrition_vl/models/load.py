"""Loads bases, processors and adapters, and checks them."""

from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from peft import LoraConfig, PeftModel, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import PreTrainedConfig, PreTrainedModel

from nutrition_vl.models.family import QWEN2_VL, Family, Model, Processor, family_of
from nutrition_vl.models.names import FOUR_BIT, NF4
from nutrition_vl.models.pixel_budget import PixelBudget, budget_of
from nutrition_vl.models.quantization import (
    check_quantized,
    check_saved_quantization,
    device_map,
    keep_float32_matmul,
    quantization_config,
    remove_offload_hooks,
)
from nutrition_vl.models.runtime import Runtime

ADAPTER_WEIGHTS = "adapter_model.safetensors"  # PEFT's file name


def load_processor(
    source: str | Path, budget: PixelBudget | None = None, revision: str = "main"
) -> Processor:
    """The processor of a folder or hub model, with its own pixel budget or the one given."""
    _check_source(source)
    try:
        processor = QWEN2_VL.processor.from_pretrained(source, revision=revision)
        budget_of(processor)  # its numbers are there
    except OSError as error:
        raise FileNotFoundError(_unreadable(source, error)) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _broken(source, error) from error
    _check_texts(processor, Path(source))
    if budget is not None:
        processor.image_processor.size = budget.size(processor.image_processor)
    return processor


def load_base(
    source: str | Path,
    runtime: Runtime,
    revision: str = "main",
    quantization: str = NF4,
    offload_embeddings: bool = False,
) -> Model:
    """The base model of a folder or hub id, ready to detect.

    With `offload_embeddings` it can only be trained (see quantization.py). FileNotFoundError where
    there is none, ValueError where it is of another family or not in safetensors.
    """
    _check_source(source)
    _check_pickles(source)
    try:
        family = family_of(source, revision)
        config, _ = PreTrainedConfig.get_config_dict(source, revision=revision)
        check_saved_quantization(source, config.get("quantization_config"), quantization, family)
        return materialize(
            family,
            runtime,
            quantization,
            offload_embeddings,
            source,
            revision=revision,
            use_safetensors=True,
        )
    except (OSError, SafetensorError) as error:
        raise FileNotFoundError(_unreadable(source, error)) from error


def materialize(
    family: Family,
    runtime: Runtime,
    quantization: str,
    offload_embeddings: bool,
    source: Any,
    **options: Any,
) -> Model:
    """Loads weight by weight through transformers; ValueError where weights are missing."""
    offload = offload_embeddings and runtime.device.type != "cpu"
    loaded: Any = family.model.from_pretrained(
        source,
        dtype=runtime.dtype,
        device_map=device_map(str(runtime.device), offload, family),
        quantization_config=quantization_config(runtime, quantization, offload, family),
        attn_implementation=runtime.attention,
        output_loading_info=True,
        **options,
    )
    model, report = loaded
    if missing := sorted(report["missing_keys"]):
        raise ValueError(f"the weights of {source} lack {missing[0]} and {len(missing) - 1} more")
    if quantization in FOUR_BIT:
        check_quantized(model)
    return keep_float32_matmul(remove_offload_hooks(model)).eval()


def attach(model: PreTrainedModel | PeftModel, folder: Path, name: str) -> PeftModel:
    """The model with the adapter of `folder` added as `name` to those it already has.

    FileNotFoundError without weights in safetensors; ValueError where the adapter does not fit the
    model or changes nothing. The model is then as before.
    """
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise FileNotFoundError(f"{folder} lacks {ADAPTER_WEIGHTS}, and no other weights are read")
    config = _lora_config(folder)
    try:
        if isinstance(model, PeftModel):
            grown = model
            grown.add_adapter(name, config)
        else:
            grown = PeftModel(model, config, adapter_name=name)
    except (ValueError, TypeError) as error:
        raise ValueError(f"the adapter in {folder} does not fit the model: {error}") from error
    if problem := _fill(grown, folder, name):
        if grown is model:
            grown.delete_adapter(name)
        else:
            grown.unload()
        raise ValueError(f"the adapter in {folder} {problem}")
    return grown.eval()


def _lora_config(folder: Path) -> LoraConfig:
    """The LoRA settings of an adapter; ValueError where they cannot be read."""
    try:
        config = LoraConfig.from_pretrained(str(folder))
    except (ValueError, KeyError, TypeError) as error:  # KeyError: PEFT knows no such peft_type
        raise _broken(folder / "adapter_config.json", error, "copy or train a LoRA") from error
    config.inference_mode = True
    return config


def _fill(model: PeftModel, folder: Path, name: str) -> str | None:
    """Loads the adapter's weights; returns the problem, or None."""
    try:
        # Not load_adapter: it moves a model from the CPU to a GPU if there is one.
        weights = load_file(folder / ADAPTER_WEIGHTS, device=str(model.device))
        report: Any = set_peft_model_state_dict(model, weights, adapter_name=name)
    except SafetensorError as error:
        return f"has damaged weights: {error}"
    except RuntimeError as error:  # tensors of another shape
        return f"was made for a model of another size: {str(error).splitlines()[-1].strip()}"
    missing = [key for key in report.missing_keys if f".{name}." in key]
    if strays := [*missing, *report.unexpected_keys]:
        return (
            f"did not attach: {len(strays)} of its weights have no counterpart, {strays[0]} first"
        )
    ends = [weight for key, weight in model.named_parameters() if f"lora_B.{name}." in key]
    if not any(bool(weight.any()) for weight in ends):
        return "changes nothing: every LoRA B is zero, as before any training"
    return None


def _check_source(source: str | Path) -> None:
    """A hub id is `owner/name`; anything else is a folder, and the hub is not tried."""
    if not Path(source).is_dir() and (isinstance(source, Path) or source.count("/") != 1):
        raise FileNotFoundError(f"there is no model folder {source}")


def _check_texts(processor: Processor, source: Path) -> None:
    """transformers makes up an empty tokenizer, and reads the template only on first use."""
    if processor.tokenizer.vocab_size < 256:  # not even a token for each byte
        raise FileNotFoundError(f"{source} lacks tokenizer.json: copy the whole folder again")
    ask = [{"role": "user", "content": [{"type": "image"}]}]
    try:
        if processor.image_token not in processor.apply_chat_template(ask, tokenize=False):
            raise ValueError("it leaves out the photo")
    except (TemplateError, ValueError, TypeError) as error:
        raise _broken(source / "chat_template.jinja", error) from error


def _broken(
    place: str | Path, error: Exception, fix: str = "copy the whole folder again"
) -> ValueError:
    return ValueError(f"{place} cannot be read, {fix}: {error!r}")


def _check_pickles(source: str | Path) -> None:
    folder = Path(source)
    if folder.is_dir() and not any(folder.glob("*.safetensors")):
        pickles = sorted(path.name for path in folder.glob("*.bin"))
        files = f"only {', '.join(pickles)}, pickles that could run any code" if pickles else "none"
        raise ValueError(f"{source} must hold its weights as *.safetensors; found {files}")


def _unreadable(source: str | Path, error: Exception) -> str:
    reason = str(error).strip().splitlines()[0]
    if Path(source).is_dir():
        return f"{source} is not a whole model folder: {reason}"
    return (
        f"cannot get {source} from the Hugging Face hub and there is no such folder here: "
        f"check the name and the network ({reason})"
    )
