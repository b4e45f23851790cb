"""tokens.py NIBBLE NODE_FOLDER FOLDER MODEL.gguf TEXT...

Ids of texts with the tokenizer in FOLDER: nibble's are those of Hugging Face's tokenizers library; and with
MODEL.gguf, converted from it: nibble's are those of the llama.cpp runtime. The texts are the files TEXT,
samples of several scripts, and 10,000 random strings. Where the environment has RECORD, a file, what the two
libraries say of the shorter ones is written there, for tests/golden.
"""
import json
import os
import random
import subprocess
import sys

import tokenizers

nibble, node, folder, model, *files = sys.argv[1:]
SAMPLES = [
    "", " ", "  ", "\n", "\t\t", "\r\n\r\n x", "a", "Hello, world!", " leading and trailing ", "it's we'LL I'M you'Ve",
    "1234567890 3.14159 1,000,000 0x7f \u0665\u0666\u0667 \u00bd", "for (int i = 0; i < n; i++) {\n\treturn x[i] >> 3;\n}\n",
    "def f(x):\n    return {'a': [x**2, None]}\n\n\n# end", "https://example.org/path?q=a&b=%20#top",
    "\u4eca\u5929\u5929\u6c14\u5f88\u597d\uff0c\u6211\u4eec\u53bb\u516c\u56ed\u3002\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8 \ud55c\uad6d\uc5b4",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645\u060c \u0643\u064a\u0641 \u062d\u0627\u0644\u0643\u061f", "\u05e9\u05dc\u05d5\u05dd \u0928\u092e\u0938\u094d\u0924\u0947 \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \u2764\ufe0f\u200d\U0001f525", "caf\u00e9 na\u00efve \u00c5ngstr\u00f6m stra\u00dfe \u0130stanbul",
    "\x01\x02\x1b[31mred\x1b[0m\x7f\x80\x85\u00a0\u2028\u2029\u3000", "\u180e\u200b\ufeff\ufffd", "\u2581already\u2581there", "<s>x</s><unk><0x0A>",
    "<|endoftext|> <|begin_of_text|>hi<|eot_id|>\n<|im_start|>user", "<bos><start_of_turn>user\nhi<end_of_turn>\n\n\n\n", "x" * 3000, " " * 500 + "y", "ab " * 700,
]
POOLS = ["abcdefghijklmnopqrstuvwxyz      '", "ABCdef'sStTllLL  \n", "0123456789.,- ", " \t\n\r\u00a0\u2003\u3000", "{}[]()<>/\\|!?#$%&*+=_~^`\"':;,.-",
         "\u00e9\u00e8\u00fc\u00df\u00f1\u0101\u010d\u0142\u0434\u0436\u044f\u03b1\u03c9\u0416\u0394", "\u4e00\u4e8c\u4e09\u5b57\u3042\u30a2\uac00\ub098\u0e01\u0e32\u0627\u0628\u05d0\u0915\u093f", "\U0001f600\U0001f680\U00010400\U0001d4d0\u2603\u20ac\u2211",
         "\x00\x01\x07\x1b\x7f\u0080\u009f"]


def random_texts(count):
    rng = random.Random(20260930)
    for _ in range(count):
        pools = rng.sample(POOLS, rng.randint(1, 4))
        text = "".join(rng.choice(rng.choice(pools)) for _ in range(rng.randint(1, 60)))
        yield text.replace("\x00", "")


def ours(source, *options):
    out = subprocess.run([nibble, "tokenize", "--ids", "-z", "-f", "texts", *options, source], check=True,
                         stdout=subprocess.PIPE).stdout.decode()
    return [json.loads(line) for line in out.splitlines()]


def agree(what, expected, found):
    bad = [i for i, (a, b) in enumerate(zip(expected, found)) if a != b]
    print(f"tokenize: {what}: " + (f"{len(bad)} of {len(texts)} texts DIFFER" if bad else f"{len(texts)} texts, the same ids"))
    for i in bad[:3]:
        print(f"  {texts[i][:60]!r}\n    expected {expected[i][:40]}\n    found    {found[i][:40]}")
    return not bad and len(expected) == len(found)


texts = [t for t in SAMPLES if t] + list(random_texts(10000))
for name in files:
    with open(name, encoding="utf-8") as f:
        texts.append(f.read())
with open("texts", "w", encoding="utf-8", newline="") as f:
    f.write("".join(t + "\0" for t in texts))

def record(kind, ids):
    with open(os.environ["RECORD"], "a", encoding="ascii") as f:
        for text, tokens in list(zip(texts, ids))[:180]:
            if len(text) < 200:
                f.write(f"{kind}\t{text.encode().hex()}\t{' '.join(map(str, tokens))}\n")


good = True
reference = tokenizers.Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
# Whether BOS is put before a text is partly said in tokenizer_config.json, which the library does not read.
library = [e.ids for e in reference.encode_batch(texts, add_special_tokens=False)]
good &= agree(f"{folder}, as the tokenizers library", library, ours(folder, "--no-bos"))
lines = subprocess.run(["node", os.path.join(node, "tokens.mjs"), model, "texts"], check=True,
                       stdout=subprocess.PIPE).stdout.decode().splitlines()
theirs = [json.loads(line) for line in lines]
good &= agree(f"{model}, as the runtime, plain", theirs[:len(texts)], ours(model, "--no-bos", "--no-parse-special"))
good &= agree(f"{model}, as the runtime, with control tokens", theirs[len(texts):], ours(model, "--no-bos"))
if "RECORD" in os.environ:
    record(os.path.basename(folder) + " folder", [e.ids for e in reference.encode_batch(texts)])
    record(os.path.basename(folder) + " gguf", theirs[len(texts):])
sys.exit(0 if good else 1)
