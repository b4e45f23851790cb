"""files.py NIBBLE NODE_FOLDER FILE...: edits the first FILE in every way, and has two other readers, PyPI's gguf and
npm's @huggingface/gguf, say what is in the result: every key must be what was set. Then 'nibble check' must find
all FILEs sound, and gguf's own hashes of the first must be those of 'nibble hash'."""
import json
import math
import os
import subprocess
import sys

from gguf import GGUFReader

nibble, node, *files = sys.argv[1:]
model = files[0]

SET = {
    "x.u8": ("u8", 255), "x.i8": ("i8", -128), "x.u16": ("u16", 65535), "x.i16": ("i16", -32768),
    "x.u32": ("u32", 4294967295), "x.i32": ("i32", -2147483648), "x.u64": ("u64", 18446744073709551615),
    "x.i64": ("i64", -9223372036854775808), "x.f32": ("f32", 0.5), "x.f64": ("f64", 1e300), "x.bool": ("bool", True),
    "x.str": ("str", "a=b: \u4e2d"), "x.ints": ("i32[]", [1, -2, 3]), "x.floats": ("f32[]", [0.5, -1.25]),
    "x.flags": ("bool[]", [True, False]), "x.words": ("str[]", ["a", "", "\u00e9"]), "general.name": ("str", "Edited"),
}


def text(value):
    return value if isinstance(value, str) else json.dumps(value)


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def same(a, b):
    if isinstance(a, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    if isinstance(a, float) or isinstance(b, float):
        return math.isclose(float(a), float(b), rel_tol=1e-6)
    return a == b or str(a) == str(b)  # what JavaScript has as BigInt comes as text


edits = [o for key, (kind, value) in SET.items() for o in ("--set", f"{key}={kind}:{text(value)}")]
run(nibble, "edit", model, "-o", "edited.gguf", "--force", "--rename", "general.file_type=x.renamed", *edits)
before = {f.name: f.contents() for f in GGUFReader(model).fields.values()}
reader = GGUFReader("edited.gguf")
by_python = {f.name: f.contents() for f in reader.fields.values() if not f.name.startswith("GGUF.")}
by_node = json.loads(run("node", os.path.join(node, "files.mjs"), "edited.gguf"))
expected = {k: v for k, v in before.items() if not k.startswith("GGUF.") and k != "general.file_type"}
expected["x.renamed"] = before["general.file_type"]
expected.update({k: v for k, (_, v) in SET.items()})
failed = []
for who, found in (("gguf", by_python), ("@huggingface/gguf", by_node["metadata"])):
    failed += [f"{who}: {k}: {str(found.get(k))[:80]}, not {str(v)[:80]}" for k, v in expected.items()
               if k not in found or not same(v, found[k])]
    failed += [f"{who}: {k} should not be there" for k in found.keys() - expected.keys()]
if [t.name for t in reader.tensors] != [t["name"] for t in by_node["tensors"]]:
    failed.append("the two see other tensors")
if any(a.data.tobytes() != b.data.tobytes() for a, b in zip(reader.tensors, GGUFReader(model).tensors)):
    failed.append("tensor data has changed")

script = [sys.executable, "-m", "gguf.scripts.gguf_hash"]
theirs = {tuple(line.split()[:2]) for line in run(*script, "--no-layer", model).splitlines()
          if line.split()[0] in ("sha1", "sha256", "UUIDv5")}
ours = {tuple(line.split()[:2]) for line in run(nibble, "hash", "--all", "--uuid", "--no-layer", model).splitlines()}
missing = {(a.lower().replace("v5", ""), b) for a, b in theirs} - ours
if missing or not theirs:
    failed.append(f"hashes differ: {missing}")

print("\n".join(failed) or f"files: {len(expected)} keys of edited.gguf agree for both readers, and hashes with gguf's")
for path in files:
    result = subprocess.run([nibble, "check", path], capture_output=True, text=True)
    print(result.stdout.splitlines()[-1] if result.returncode == 0 else result.stdout)
    failed += [path] * (result.returncode != 0)
sys.exit(bool(failed))
