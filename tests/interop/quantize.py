"""quantize.py NIBBLE RUNTIME F16 FOLDER IMATRIX: every recipe, by the runtime's llama_model_quantize and by nibble.

nibble's files stay as ours-RECIPE.gguf.
"""
import os
import subprocess
import sys

from gguf import GGUFReader
import numpy

from runtime import RECIPES, Importance, Runtime

nibble, runtime, f16, folder, imatrix = sys.argv[1:]
llama = Runtime(runtime)
WITH_IMPORTANCE = {"Q4_0": 2, "Q5_1": 9, "Q3_K_M": 12, "Q4_K_M": 15, "IQ2_XXS": 19, "IQ2_XS": 20, "Q2_K_S": 21,
                   "IQ3_XS": 22, "IQ3_XXS": 23, "IQ1_S": 24, "IQ4_NL": 25, "IQ3_S": 26, "IQ2_S": 28, "IQ2_M": 29,
                   "IQ4_XS": 30, "IQ1_M": 31}
NOT_FOR_WRITING = {"IQ1_S", "IQ1_M", "IQ2_XXS", "TQ1_0", "TQ2_0", "Q1_0", "Q2_0"}  # nothing is left of so small a model


def theirs(number, importance=None):
    if llama.quantize(f16, number, "theirs.gguf", importance) is None:
        sys.exit(f"the runtime cannot write file type {number}")
    with open("theirs.gguf", "rb") as f:
        return f.read()


def ours(source, recipe, *options):
    name = f"{'tiny' if recipe in NOT_FOR_WRITING else 'ours'}-{recipe}{'-imatrix' if options else ''}.gguf"
    subprocess.run([nibble, "quantize", source, "-t", recipe, "-o", name, "--force", *options], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open(name, "rb") as f:
        return name, f.read()


def tensors(path):
    return {t.name: (list(map(int, t.shape)), t.tensor_type.name, t.data.tobytes()) for t in GGUFReader(path).tensors}


def report(recipe, good, words):
    global failed
    failed += not good
    print(f"quantize: {recipe}: {words if good else 'DIFFERS'}")


failed = 0
for recipe, number in RECIPES.items():
    expected = theirs(number)
    agree = ours(f16, recipe)[1] == expected
    if recipe not in ("F32", "F16", "BF16"):  # a plain conversion keeps the converter's order of tensors
        agree = agree and ours(folder, recipe)[1] == expected  # in one step
    report(recipe, agree, "byte for byte")
sums = {t.name: t.data for t in GGUFReader(imatrix).tensors}
means = {name[:-len(".in_sum2")]: numpy.ascontiguousarray(sums[name] / sums[name[:-len("in_sum2")] + "counts"],
                                                         dtype=numpy.float32)
         for name in sums if name.endswith(".in_sum2")}
importance = (Importance * (len(means) + 1))(*[Importance(n.encode(), v.ctypes.data, v.size) for n, v in means.items()])
for recipe, number in WITH_IMPORTANCE.items():  # the runtime does not write what llama-quantize says of the matrix
    theirs(number, importance)
    name, _ = ours(f16, recipe, "--imatrix", imatrix)
    report(f"{recipe} with importance", tensors("theirs.gguf") == tensors(name), "the same tensors")
sys.exit(failed > 0)
