#!/bin/sh
# Expected: a tokenizer's JSON gives the same ids wherever it is read.
# Happens: tokenizers writes with each added token whether it takes the blanks on its left or right with it (lstrip,
# rstrip), whether it has to be a word of its own (single_word), and whether it is looked for in normalized text. kitoken
# reads the file, knows the tokens, and forgets all four: the line break behind a role mark becomes a token, "disco" falls
# apart where "dis" is one. Texts without added tokens have the same ids. No warning; the decoded text hides it.
# Seen: 2026-11-30, Python 3.11, kitoken 0.11.1, tokenizers 0.23.3
# Hurts: who tokenizes with the faster of the two and reads activations by place: role marks of Phi-3 have rstrip, the
# mask of RoBERTa lstrip. Later positions are one further on, and the model meets a token that it was not trained with.
# Compare the ids of a few whole conversations before, or tokenize with tokenizers.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check tokenizers==0.23.3 kitoken==0.11.1
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys, warnings
print(datetime.date.today(), "Python", platform.python_version())
for name in ['tokenizers', 'kitoken']:
    print(name, importlib.metadata.version(name))
print('flags of added tokens are forgotten by another reader of the same file')

from kitoken import Kitoken
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers

learn = ["which answer is better and why", "the score is a number from one to ten", "a judge reads both answers"] * 20
texts = {
    "none": "the judge reads the answer twice, then gives 7/10",
    "rstrip": "<|user|>\nwhich is better?<|end|>\n<|assistant|>\nboth are",
    "lstrip": "the answer is <mask> today",
    "single_word": "the score of a disco, a dis",
    "normalized": "the ANSWER is",
}
added = {
    "none": [],
    "rstrip": [AddedToken(name, rstrip=True, special=True) for name in ("<|user|>", "<|end|>", "<|assistant|>")],
    "lstrip": [AddedToken("<mask>", lstrip=True, special=True)],
    "single_word": [AddedToken("dis", single_word=True)],
    "normalized": [AddedToken("Answer", normalized=True)],
}
same = True
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    for flag, text in texts.items():
        bpe = Tokenizer(models.BPE())
        if flag == "normalized":
            bpe.normalizer = normalizers.Lowercase()
        bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        bpe.train_from_iterator(learn, trainers.BpeTrainer(
            vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
        bpe.add_tokens(added[flag])
        bpe.save("tokenizer.json")
        right = Tokenizer.from_file("tokenizer.json").encode(text).ids
        ids = list(Kitoken.from_file("tokenizer.json").encode(text, True))
        print(flag, repr(text), len(right), "ids,", len(ids), "by kitoken,", "the same" if ids == right else "others")
        same = same and (ids == right) == (flag == "none")
        if flag == "rstrip":
            print(" ", right, ids)
            same = same and len(ids) == len(right) + 3
print("warnings", len(said))
if said or not same:
    sys.exit("the behaviour has changed")
END
