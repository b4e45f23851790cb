"""mlx_folders.py NIBBLE TESTS SAMPLE: holds folders that nibble writes for MLX against mlx-lm's own conversion: the same bytes, and in
mlx-lm the same logits and the same text. Then come checkpoints that mlx-lm cannot convert: ours load and compute."""
import contextlib
import glob
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
from golden_checkpoint import make
from mlx_lm import generate, load
from mlx_lm.convert import convert
from mlx_lm.utils import load_model

nibble, tests, sample = sys.argv[1:]
goldens, tokenizers = f"{tests}/golden/families", f"{tests}/golden/families/tokenizers"
FAMILIES = ["llama", "mixtral", "qwen3", "qwen3moe", "qwen3next", "gemma3", "gemma4", "phi3", "glm4moe", "gptoss_mxfp4",
            "deepseek2", "nemotron_h"]
SETTINGS = [("4bit", {}), ("8bit", {"q_bits": 8}), ("3bit", {"q_bits": 3, "q_group_size": 32}), ("mxfp4", {"q_mode": "mxfp4"}),
            ("nvfp4", {"q_mode": "nvfp4"}), ("mxfp8", {"q_mode": "mxfp8"}), ("mixed_3_6", {"quant_predicate": "mixed_3_6"})]
failed = []


def theirs(source, folder, **options):
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.redirect_stdout(io.StringIO()):
        convert(hf_path=source, mlx_path=folder, quantize=True, **options)


def ours(source, folder, recipe, *options):
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([nibble, "quantize", source, "--format", "mlx", "-t", recipe, "-o", folder, "-q", *options], check=True,
                   stdout=subprocess.DEVNULL)


def logits(folder):
    model, _ = load_model(Path(folder))
    ids = mx.array([[(i * 37 + 11) % 500 for i in range(24)]])
    out = model(ids)
    mx.eval(out)
    assert bool(mx.all(mx.isfinite(out))), folder
    return out


def same_bytes(a, b):
    names = sorted(os.path.basename(f) for f in glob.glob(f"{a}/model*"))
    return names == sorted(os.path.basename(f) for f in glob.glob(f"{b}/model*")) and all(
        Path(a, n).read_bytes() == Path(b, n).read_bytes() for n in names)


def compare(what, source, recipe, options, *ours_options):
    theirs(source, "theirs", **options)
    ours(source, "ours", recipe, *ours_options)
    if not same_bytes("theirs", "ours"):
        failed.append(f"{what}: other bytes than mlx-lm's")
    elif not bool(mx.array_equal(logits("theirs"), logits("ours"))):
        failed.append(f"{what}: other logits")


def tied_under_output(config, tensors):
    config["tie_word_embeddings"] = True
    return [("lm_head.weight", *t[1:]) if t[0] == "model.embed_tokens.weight" else t for t in tensors
            if t[0] != "lm_head.weight"]


for name in FAMILIES:
    make(f"{goldens}/{name}.json.gz", tokenizers, "source")
    compare(name, "source", "4bit", {"q_group_size": 32}, "--group-size", "32")
for recipe, options in SETTINGS:
    compare(f"sample, {recipe}", sample, recipe, options,
            *(["--group-size", str(options["q_group_size"])] if "q_group_size" in options else []))
    prompt, texts = "Once upon a time", []
    for folder in ("theirs", "ours"):
        model, tokenizer = load(folder)
        texts.append(generate(model, tokenizer, prompt, max_tokens=40))
    if texts[0] != texts[1] or len(texts[0]) < 40:
        failed.append(f"sample, {recipe}: {texts[1]!r}, not {texts[0]!r}")

refused = []
for name, change in (("deepseek3", None), ("llama", tied_under_output), ("qwen35moe", None)):
    make(f"{goldens}/{name}.json.gz", tokenizers, "source", change)
    try:
        theirs("source", "theirs", q_group_size=32)
        failed.append(f"{name}: mlx-lm converts it by now")
    except ValueError:
        refused.append(name)
    ours("source", "ours", "4bit", "--group-size", "32")
    logits("ours")
for line in failed:
    print("mlx:", line)
print(f"mlx: {len(FAMILIES)} families and {len(SETTINGS)} recipes have the bytes, logits and texts of mlx-lm; it computes with "
      f"{len(refused)} that it cannot convert itself")
sys.exit(1 if failed else 0)
