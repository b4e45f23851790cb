"""quantize.py NIBBLE RUNTIME F16 FOLDER IMATRIX: every recipe, by the runtime's llama_model_quantize and by nibble.

nibble's files stay as ours-RECIPE.gguf.
"""
import ctypes
import glob
import os
import subprocess
import sys

from gguf import GGUFReader
import numpy

nibble, runtime, f16, folder, imatrix = sys.argv[1:]
RECIPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K_S": 11,
           "Q3_K_M": 12, "Q3_K_L": 13, "Q4_K_S": 14, "Q4_K_M": 15, "Q5_K_S": 16, "Q5_K_M": 17, "Q6_K": 18, "IQ4_NL": 25,
           "IQ3_S": 26, "IQ3_M": 27, "IQ4_XS": 30, "BF16": 32, "TQ1_0": 36, "TQ2_0": 37, "MXFP4_MOE": 38, "Q1_0": 40,
           "Q2_0": 41}
WITH_IMPORTANCE = {"Q4_0": 2, "Q5_1": 9, "Q3_K_M": 12, "Q4_K_M": 15, "IQ2_XXS": 19, "IQ2_XS": 20, "Q2_K_S": 21,
                   "IQ3_XS": 22, "IQ3_XXS": 23, "IQ1_S": 24, "IQ4_NL": 25, "IQ3_S": 26, "IQ2_S": 28, "IQ2_M": 29,
                   "IQ4_XS": 30, "IQ1_M": 31}
NOT_FOR_WRITING = {"IQ1_S", "IQ1_M", "IQ2_XXS", "TQ1_0", "TQ2_0", "Q1_0", "Q2_0"}  # nothing is left of so small a model


class Importance(ctypes.Structure):  # struct llama_model_imatrix_data
    _fields_ = [("name", ctypes.c_char_p), ("data", ctypes.c_void_p), ("size", ctypes.c_size_t)]


class Parameters(ctypes.Structure):  # struct llama_model_quantize_params, include/llama.h of v0.5.0
    _fields_ = ([(n, ctypes.c_int32) for n in ("nthread", "ftype", "output_tensor_type", "token_embedding_type")]
                + [(n, ctypes.c_bool) for n in ("allow_requantize", "quantize_output_tensor", "only_copy", "pure",
                                                "keep_split", "dry_run")]
                + [(n, ctypes.c_void_p) for n in ("imatrix", "kv_overrides", "tt_overrides", "prune_layers")]
                + [("max_buf_size", ctypes.c_size_t)])


for name in ("libggml-base.so", "libggml.*.so", "libllama.v*.so"):
    library = ctypes.CDLL(glob.glob(os.path.join(runtime, name))[0], mode=ctypes.RTLD_GLOBAL)
LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
quiet = LOG(lambda level, text, data: None)
library.llama_log_set(quiet, None)
library.llama_model_quantize_default_params.restype = Parameters
library.llama_model_quantize.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(Parameters)]
library.llama_model_quantize.restype = ctypes.c_uint32


def theirs(number, importance=None):
    parameters = library.llama_model_quantize_default_params()
    parameters.ftype = number
    parameters.imatrix = ctypes.cast(importance, ctypes.c_void_p) if importance else None
    if library.llama_model_quantize(f16.encode(), b"theirs.gguf", ctypes.byref(parameters)) != 0:
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
