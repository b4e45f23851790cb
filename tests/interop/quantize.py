"""quantize.py NIBBLE RUNTIME F16 FOLDER: every recipe, by the runtime's llama_model_quantize and by nibble.

nibble's files stay as ours-RECIPE.gguf.
"""
import ctypes
import glob
import os
import subprocess
import sys

nibble, runtime, f16, folder = sys.argv[1:]
RECIPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q4_K_S": 14, "Q4_K_M": 15,
           "Q5_K_S": 16, "Q5_K_M": 17, "Q6_K": 18, "BF16": 32}


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
failed = 0
for recipe, number in RECIPES.items():
    parameters = library.llama_model_quantize_default_params()
    parameters.ftype = number
    if library.llama_model_quantize(f16.encode(), b"theirs.gguf", ctypes.byref(parameters)) != 0:
        sys.exit(f"the runtime cannot write {recipe}")
    with open("theirs.gguf", "rb") as f:
        theirs = f.read()
    agree = []
    for source in (f16, folder):  # in two steps, and in one
        if source == folder and "F" in recipe:
            continue  # a plain conversion keeps the converter's order of tensors
        subprocess.run([nibble, "quantize", source, "-t", recipe, "-o", f"ours-{recipe}.gguf", "--force"], check=True,
                       stdout=subprocess.DEVNULL)
        with open(f"ours-{recipe}.gguf", "rb") as f:
            agree.append(f.read() == theirs)
    failed += not all(agree)
    print(f"quantize: {recipe}: {'byte for byte' if all(agree) else 'DIFFERS'}")
sys.exit(failed > 0)
