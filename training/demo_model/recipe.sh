#!/usr/bin/env bash
# The embedded checkpoint from nothing: base, mean of two further trainings, adapter.
#   bash training/demo_model/recipe.sh BACKGROUNDS NEGATIVES OUT
# A call stops after PAUSE minutes of training at most; the next one with the same OUT goes on.
# GPUS=2 takes half the minutes for the same steps on two GPUs.
set -euo pipefail
BACKGROUNDS=$1 NEGATIVES=$2 OUT=$3
GPUS=${GPUS:-1} PAUSE=${PAUSE:-7} WORKERS=${WORKERS:-$(nproc --all)} PYTHON=${PYTHON:-python}
FACES=${FACES:-20000} MINUTES=${MINUTES:-18} FURTHER=${FURTHER:-5} PARTS=${PARTS:-28} # minutes of one GPU
POOL=${POOL:-$OUT/pool}
export OMP_NUM_THREADS=1

# 1) real photos without a table: those to train on, those held back for choosing
[ -d "$OUT/photos" ] || $PYTHON -m training.demo_model.photos "$BACKGROUNDS" "$NEGATIVES" --out "$OUT/photos"

train() { # OUT MINUTES FACES [option...]; ends the script where the minutes are not used up
    [ -e "$1/done" ] || $PYTHON -m torch.distributed.run --nproc-per-node "$GPUS" -m -- training.demo_model \
        --out "$1" --pool "$POOL" --backgrounds "$OUT/photos/train" --faces "$3" "${@:4}" \
        --minutes "$(awk "BEGIN {print $2 / $GPUS}")" --pause "$PAUSE" --workers "$WORKERS"
    [ -e "$1/done" ] || { echo "paused: call again to go on"; exit 0; }
}

# 2) the base, from nothing
train "$OUT/base" "$MINUTES" "$FACES"

# 3) the base trained further twice on other faces, with crops and without, and the mean of both
further() { train "$OUT/$1" "$FURTHER" "$((FACES * 2 / 5))" --start "$OUT/base" --rate 3e-4 --crops "$2"; }
further crops 0.2
further plain 0
$PYTHON - "$OUT" <<'MEAN'
import sys
from pathlib import Path
from safetensors.torch import load_file, save_file
out = Path(sys.argv[1])
for name in ("model.safetensors", "helpers.safetensors"):
    crops, plain = load_file(out / "crops" / name), load_file(out / "plain" / name)
    mean = {key: ((crops[key].float() + plain[key].float()) / 2).to(crops[key].dtype) for key in crops}
    save_file(mean, f"nutrition_vl/demo/{name}", {"format": "pt"})
MEAN
cp "$OUT"/crops/{*.json,*.jinja,*.jsonl} nutrition_vl/demo/

# 4) the adapter's photos, then the adapter on the base where "demo" names it
[ -e "$OUT/data/metadata.jsonl" ] || $PYTHON -m training.demo_model.adapter_photos \
    --out "$OUT/data" --photos "$OUT/photos/train" --parts "$PARTS" --workers "$WORKERS"
[ -d "$OUT/adapter" ] || $PYTHON -m training --model_name_or_path demo --data_path "$OUT/data" \
    --output_dir "$OUT/adapter" --recipe exp1a --num_train_epochs 2 --learning_rate 1e-3 \
    --per_device_train_batch_size 16 --gradient_accumulation_steps 1 --gradient_checkpointing False \
    --dataloader_num_workers 2 --save_strategy epoch --save_only_model True --seed 2

# 5) installed at an eighth of its strength (docs/log.md), with a second look and no calibration
LAST=$(ls -d "$OUT"/adapter/checkpoint-* | sort -V | tail -1)
cp "$LAST"/{*.json,*.jinja,adapter_model.safetensors} nutrition_vl/demo/adapter/
rm nutrition_vl/demo/adapter/trainer_state.json
sed -i 's/"lora_alpha": 16/"lora_alpha": 2/' nutrition_vl/demo/adapter/adapter_config.json
$PYTHON - <<'CARD'
from dataclasses import replace
from nutrition_vl.models.checkpoints import DEMO, read_card, write_card
write_card(DEMO / "adapter", replace(read_card(DEMO / "adapter"), second_look=True))
CARD
