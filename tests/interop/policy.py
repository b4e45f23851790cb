"""policy.py NIBBLE RUNTIME FILE...: the type that each recipe gives each tensor, by the runtime's llama_model_quantize and by
nibble. Each FILE is taken as it is, where most rows are too short for the recipes' types, and with longer rows and more
layers. With TABLE, a file, in the environment, hashes of what the runtime gives the larger ones are written there, for
tests/test_family_recipes.c."""
import json
import math
import os
import re
import subprocess
import sys
import zlib

from gguf import GGUFReader, GGUFValueType, GGUFWriter

from runtime import NEED_IMPORTANCE, RECIPES, Runtime

nibble, runtime, *files = sys.argv[1:]
LAYERS = 20  # so many that first, last and middle ones differ
LINE = re.compile(r"\[ *\d+/ *\d+\] (\S+) +- \[.*?\], type = +(\S+), size = +\S+ MiB(?: -> +\S+ MiB \((\S+)\))?")


def enlarge(path, out):
    """Writes OUT: the model of PATH with rows of whole blocks, its blocks repeated, and no data."""
    reader = GGUFReader(path)
    fields = {f.name: f for f in reader.fields.values() if not f.name.startswith("GGUF.")}
    arch = fields["general.architecture"].contents()
    layers = fields[f"{arch}.block_count"].contents()
    not_by_layer = ("tokenizer.", "general.", f"{arch}.rope.dimension_sections")
    writer = GGUFWriter(out, arch)
    for name, field in fields.items():
        value, kind = field.contents(), field.types[0]
        if name == f"{arch}.block_count":
            value = LAYERS
        elif kind == GGUFValueType.ARRAY and not name.startswith(not_by_layer) and len(value) >= layers:
            value = [value[i % layers] for i in range(LAYERS)]
        if name != "general.architecture":
            writer.add_key_value(name, value, kind, sub_type=field.types[-1] if kind == GGUFValueType.ARRAY else None)
    size = 0
    for tensor in reader.tensors:
        ne = [int(n) for n in tensor.shape]
        if len(ne) > 1:
            ne[0] *= 256 // math.gcd(ne[0], 256)
        block = re.match(r"blk\.(\d+)\.(.*)", tensor.name)
        names = [f"blk.{i}.{block[2]}" for i in range(int(block[1]), LAYERS, layers)] if block else [tensor.name]
        n_bytes = tensor.n_bytes * math.prod(ne) // int(tensor.n_elements)
        for name in names:
            writer.add_tensor_info(name, shape(ne, tensor, n_bytes), tensor.data.dtype, n_bytes, tensor.tensor_type)
            size += -(-n_bytes // 32) * 32
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    start = -(-os.path.getsize(out) // 32) * 32
    os.truncate(out, start + size)


def shape(ne, tensor, n_bytes):
    """As add_tensor_info wants it: slowest side first; of bytes, where that is what the data are."""
    sides = list(reversed(ne))
    if tensor.data.dtype == "uint8":
        sides[-1] = n_bytes // math.prod(sides[:-1])
    return sides


def theirs(path, number):
    said = llama.quantize(path, number, "unused.gguf", dry_run=True)
    return None if said is None else {name: (new or old).lower() for name, old, new in LINE.findall(said)}


def ours(path, recipe):
    run = subprocess.run([nibble, "quantize", path, "-t", recipe, "--dry-run", "--json", "--allow-requantize"], capture_output=True, text=True)
    if run.returncode != 0:
        return None, run.stderr.strip()
    return {t["name"]: t["type"].lower() for t in json.loads(run.stdout)["tensors"]}, ""


llama = Runtime(runtime)
def hash_of(types):
    return f"{zlib.crc32(''.join(f'{name} {types[name]}{chr(10)}' for name in sorted(types)).encode()):08x}"


failed = compared = refused = 0
table = ["# golden, and for each recipe a CRC-32 of the lines 'tensor type', by name, of what the reference chooses"]
for path in files:
    name = os.path.basename(path)
    hashes = []
    enlarge(path, "enlarged.gguf")
    for form, model in (("as it is", path), ("enlarged", "enlarged.gguf")):
        for recipe, number in {**RECIPES, **NEED_IMPORTANCE}.items():
            expected, (found, why) = theirs(model, number), ours(model, recipe)
            compared += 1
            if expected and form == "enlarged":
                hashes.append(f"{recipe} {hash_of(expected)}")
            refused += expected is None and found is None
            if expected != found:
                failed += 1
                wrong = [] if not expected or not found else [
                    f"{t}: {expected.get(t)}, but ours {found.get(t)}" for t in sorted(expected.keys() | found.keys())
                    if expected.get(t) != found.get(t)]
                print(f"policy: {name} {form}, {recipe}: " + ("; ".join(wrong[:3]) if wrong else
                      f"the runtime {'refuses' if expected is None else 'writes'} it: {llama.lines[-1:]} ours: {why}"))
    if hashes:
        table.append(f"{name.removesuffix('.gguf')}\t{' '.join(hashes)}")
os.remove("enlarged.gguf")
if os.environ.get("TABLE"):
    with open(os.environ["TABLE"], "w") as f:
        f.write("\n".join(table) + "\n")
print(f"policy: {compared} pairs of model and recipe: {failed} with other types than the runtime's, {refused} refused by both")
sys.exit(failed > 0 or refused > compared / 20)
