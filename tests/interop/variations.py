"""variations.py NIBBLE RUNTIME FILE...: each FILE as others might have written it: with matrices in one piece that it has in
several, and without each of the keys of its architecture. What the runtime loads 'nibble check' must find sound, and the other
way round."""
import os
import subprocess
import sys

import numpy
from gguf import GGUFReader, GGUFValueType, GGUFWriter

from runtime import Runtime

nibble, runtime, *files = sys.argv[1:]
FUSED = [(("attn_q.weight", "attn_k.weight", "attn_v.weight"), "attn_qkv.weight", 0),
         (("ffn_gate_exps.weight", "ffn_up_exps.weight"), "ffn_gate_up_exps.weight", 1)]

# Where they may disagree: FILE without KEY.
KNOWN = {
    "gemma4_e.gguf without gemma4.attention.shared_kv_layers",  # check does not ask which layers have keys of their own
    "gemma4.gguf without gemma4.attention.value_length",  # no such file is known, and nibble would not know its shapes
    "gemma4_e.gguf without gemma4.attention.value_length",
    "gemma4_moe.gguf without gemma4.attention.value_length",
    "gemma4_unified.gguf without gemma4.attention.value_length",
}


def fuse(tensors, parts, whole, axis):
    """The tensors with PARTS of each layer that has all of them as one; None if there is no such layer."""
    by_name, result = {t[0]: t for t in tensors}, []
    for name, data, kind in tensors:
        layer, _, rest = name.partition(".")[2].partition(".")
        names = [f"blk.{layer}.{part}" for part in parts]
        together = rest in parts and all(n in by_name and by_name[n][2] == kind for n in names)
        if together and rest == parts[0]:
            result.append((f"blk.{layer}.{whole}", numpy.concatenate([by_name[n][1] for n in names], axis=axis), kind))
        elif not together:
            result.append((name, data, kind))
    return result if len(result) < len(tensors) else None


def write(out, keys, tensors):
    writer = GGUFWriter(out, keys["general.architecture"].contents())
    for name, field in keys.items():
        if name != "general.architecture":
            kind = field.types[0]
            writer.add_key_value(name, field.contents(), kind, sub_type=field.types[-1] if kind == GGUFValueType.ARRAY else None)
    for name, data, kind in tensors:
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def compare(what, path):
    global compared
    compared += 1
    loads, said = llama.loads(path)
    check = subprocess.run([nibble, "check", path], capture_output=True, text=True)
    if loads != (check.returncode == 0) and what not in KNOWN:
        why = check.stdout if loads else said
        failed.append(f"variations: {what}: the runtime {'loads' if loads else 'refuses'} it, "
                      f"but check finds it {'unsound' if loads else 'sound'}: {' '.join(why.split())[-300:]}")
        print(failed[-1], flush=True)


llama = Runtime(runtime)
compared, failed = 0, []
for path in files:
    name = os.path.basename(path)
    reader = GGUFReader(path)
    keys = {f.name: f for f in reader.fields.values() if not f.name.startswith("GGUF.")}
    tensors = [(t.name, t.data, t.tensor_type) for t in reader.tensors]
    if not llama.loads(path)[0]:
        continue  # families.mjs says which
    for parts, whole, axis in FUSED:
        fused = fuse(tensors, parts, whole, axis)
        if fused is not None:
            write("variation.gguf", keys, fused)
            compare(f"{name} with {whole}", "variation.gguf")
    for key in keys:
        if not key.startswith(("general.", "tokenizer.")):
            write("variation.gguf", {k: f for k, f in keys.items() if k != key}, tensors)
            compare(f"{name} without {key}", "variation.gguf")
print(f"variations: {compared} files, {len(failed)} of which check and the runtime disagree")
sys.exit(bool(failed))
