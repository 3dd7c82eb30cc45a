#!/bin/sh
# Expected: DPOTrainer uses the columns ref_chosen_logps and ref_rejected_logps of a dataset that has them, as the
# documentation of its collator lets one think.
# Happens: they are read into the batch and never looked at; the reference is computed anew. Values of -100 and 100
# change no digit of the loss. With precompute_ref_log_probs=True, which does use such columns, a dataset that has
# them is refused as one with duplicated columns.
# Seen: 2026-11-29, Python 3.11, trl 1.16.0, transformers 5.24.0, datasets 5.2.0, accelerate 1.15.0, torch 2.13.0
# Hurts: who trains against another reference than the model itself (an earlier policy, an ensemble, a server's
# log-probabilities) by writing its numbers into the dataset: training silently runs against the model it starts from.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.24.0 accelerate==1.15.0 datasets==5.2.0 trl==1.16.0
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['torch', 'transformers', 'accelerate', 'datasets', 'trl']:
    print(name, importlib.metadata.version(name))
print('DPO ignores the reference log-probabilities that its dataset holds')

import copy, warnings
import datasets, torch, trl
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

warnings.simplefilter("ignore")
words = {t: i for i, t in enumerate(["<pad>", "<eos>", *"abcdefgh"])}
letters = Tokenizer(models.BPE(words, []))
letters.pre_tokenizer = pre_tokenizers.Split("", "isolated")
tokenizer = PreTrainedTokenizerFast(tokenizer_object=letters, pad_token="<pad>", eos_token="<eos>")
sizes = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4}


def trainer(own, **options):
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=10, num_key_value_heads=2, initializer_range=0.3, **sizes))
    config = trl.DPOConfig(
        output_dir="out", beta=1.0, max_steps=1, per_device_train_batch_size=2, report_to=[], bf16=False, use_cpu=True,
        save_strategy="no", logging_steps=1, disable_tqdm=True, activation_checkpointing=False, **options,
    )
    row = {"prompt": "a", "chosen": "bc", "rejected": "d"} | own
    data = datasets.Dataset.from_list([row] * 2)
    reference = copy.deepcopy(model)
    return trl.DPOTrainer(model=model, ref_model=reference, args=config, train_dataset=data, processing_class=tokenizer)


loss = []
far = {"ref_chosen_logps": -100.0, "ref_rejected_logps": 100.0}
for own in ({}, far):
    run = trainer(own)
    run.train()
    loss.append(next(h["loss"] for h in run.state.log_history if "loss" in h))
    print("columns", own, "loss", loss[-1])
print("with them used the margin would be 200 and the loss about 0")
refused = ""
try:
    trainer(far, precompute_ref_log_probs=True)
except ValueError as error:
    refused = str(error)
print("precompute_ref_log_probs=True:", refused)
same = loss[0] == loss[1] and loss[0] > 0.6 and "duplicated" in refused
if not same:
    sys.exit("the behaviour has changed")
END
