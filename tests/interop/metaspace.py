"""metaspace.py TOKENIZER.json SCHEME SPLIT: the pre-tokenizer Metaspace in the place of the normalizer."""
import json
import sys

path, scheme, split = sys.argv[1:]
with open(path, encoding="utf-8") as f:
    tokenizer = json.load(f)
tokenizer["normalizer"] = None
tokenizer["pre_tokenizer"] = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": split == "true"}
with open(path, "w", encoding="utf-8") as f:
    json.dump(tokenizer, f)
