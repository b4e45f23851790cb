"""measures.py NIBBLE RUNTIME TEXT FILE...: perplexity and KL divergence of each FILE, a GGUF file of floats, in F32 and of what
recipes make of it, by nibble verify and from the runtime's logits by the formulas of llama-perplexity. The runtime's kernels
round activations to 8 bits for these recipes, so nibble is told to do so, too. And the tokens that nibble generate writes with
the file in F32 are those that the runtime finds the likeliest, each after those before."""
import json
import os
import subprocess
import sys

import numpy as np

from runtime import Runtime

nibble, folder, text, *files = sys.argv[1:]
LENGTH, CHUNKS, WRITTEN, RECIPES = 64, 8, 16, ["Q5_0", "Q4_0"]
runtime = Runtime(folder)


def run(*arguments):
    return subprocess.run([nibble, *arguments], check=True, capture_output=True, text=True).stdout


def log_probabilities(path, ids):
    """Of the second half of each chunk, but for its last token."""
    logits = np.array(runtime.logits(path, ids, LENGTH), dtype=np.float64)[:, LENGTH // 2:-1]
    top = logits.max(-1, keepdims=True)
    return logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))


def writes_the_likeliest(path, ids):
    """Whether each token that nibble writes is the runtime's likeliest, or as likely but for rounding."""
    written = json.loads(run("generate", "--ids", ",".join(map(str, ids)), "-n", str(WRITTEN), "--json",
                             path))["models"][0]["ids"]
    ids = ids + written
    logits = np.array(runtime.logits(path, ids, len(ids), add_bos=False)[0])
    return len(written) > 0 and all(logits[i - 1].max() - logits[i - 1][ids[i]] < 1e-3
                                    for i in range(len(ids) - len(written), len(ids)))


def measure(path):
    """The largest relative differences of perplexities' logarithms and of divergences, and whether the texts are the same."""
    name = os.path.basename(path)[:-5]
    made = {recipe: f"measured-{recipe}.gguf" for recipe in ["F32", *RECIPES]}
    for recipe, out in made.items():
        run("quantize", path, "-t", recipe, "--requantize-all", "-o", out, "--force", "-q")
    ids = json.loads(run("tokenize", "-f", text, "--ids", made["F32"]))[:LENGTH * CHUNKS]
    theirs = {recipe: log_probabilities(out, ids) for recipe, out in made.items()}
    said = json.loads(run("verify", "-f", text, "-c", str(LENGTH), "--chunks", str(CHUNKS), "--activations", "q8", "--json",
                          *made.values()))
    right = np.array(ids).reshape(CHUNKS, LENGTH)[:, LENGTH // 2 + 1:]
    loss = {recipe: -np.take_along_axis(p, right[..., None], -1).mean() for recipe, p in theirs.items()}
    off, apart = abs(np.log(said["base"]["perplexity"]) / loss["F32"] - 1), 0
    for model, recipe in zip(said["models"], RECIPES):
        divergence = (np.exp(theirs["F32"]) * (theirs["F32"] - theirs[recipe])).sum(-1).mean()
        off = max(off, abs(np.log(model["perplexity"]) / loss[recipe] - 1))
        apart = max(apart, abs(model["kld_mean"] / divergence - 1))
        if os.environ.get("VERBOSE"):
            print(name, recipe, model["kld_mean"], divergence, np.log(model["perplexity"]), loss[recipe])
    same = writes_the_likeliest(made["F32"], ids[:LENGTH // 2])
    for out in made.values():
        os.remove(out)
    return name, off, apart, same


results = [measure(path) for path in files]
bad = [r for r in results if not (r[1] < 2e-3 and r[2] < 0.05 and r[3])]
for name, off, apart, same in bad:
    print(f"measures: {name}: ln perplexity is off by {100 * off:.3g} %, the divergence by {100 * apart:.3g} %, and the text is "
          + ("the same" if same else "another"))
print(f"measures: perplexities, divergences and greedy texts of {len(results) - len(bad)} of {len(results)} families are "
      f"llama.cpp's: within {100 * max(r[1] for r in results):.2g} % of ln perplexity and "
      f"{100 * max(r[2] for r in results):.2g} % of the divergence")
sys.exit(bool(bad))
