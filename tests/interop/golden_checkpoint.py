"""The checkpoints that tests/golden/families describes, as folders. What a golden holds is told in tests/golden/README.md:
values are formulas of splitmix64, whose state begins with the hash of the tensor's name."""
import glob
import gzip
import json
import os
import shutil

import numpy as np
import xxhash


def splitmix(seed, count):
    steps = np.arange(1, count + 1, dtype=np.uint64)
    z = np.uint64(seed) + np.uint64(0x9E3779B97F4A7C15) * steps
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def bfloat(values):
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def data_of(tensor):
    count = int(np.prod(tensor["shape"])) if tensor["shape"] else 1
    kind, a, b = tensor["init"]
    z = splitmix(xxhash.xxh64(tensor["name"].encode()).intdigest(), count)
    if kind == "uniform":
        values = ((z >> np.uint64(40)).astype(np.float64) / 8388608.0 - 1.0) * b + a
    elif kind == "int":
        values = a + ((z >> np.uint64(32)) % np.uint64(b - a + 1)).astype(np.int64)
    elif kind == "list":
        values = np.array(a, dtype=np.float64)
    else:  # bytes of FP8 that are no NaN
        values = (z >> np.uint64(56)).astype(np.uint8)
        values = np.where((values & 127) == 127, values ^ 1, values)
    plain = {"F32": np.float32, "F16": np.float16, "U8": np.uint8, "I8": np.int8, "I32": np.int32, "I64": np.int64,
             "F8_E4M3": np.uint8, "F8_E8M0": np.uint8}
    stored = bfloat(values) if tensor["dtype"] == "BF16" else values.astype(np.float32 if kind == "uniform" else values.dtype)
    data = (stored if tensor["dtype"] == "BF16" else stored.astype(plain[tensor["dtype"]])).tobytes()
    assert xxhash.xxh64(data).hexdigest() == tensor["xxh64"], tensor["name"]
    return data


def write_weights(path, tensors):
    """TENSORS: name, dtype, shape, data."""
    header, at = {}, 0
    for name, dtype, shape, data in tensors:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        for *_, data in tensors:
            f.write(data)


def make(golden, tokenizers, folder, change=None):
    """Writes the checkpoint of GOLDEN, a path, as one file. CHANGE may change config and list of tensors."""
    with np.errstate(all="ignore"), gzip.open(golden) as f:
        g = json.load(f)
        tensors = [(t["name"], t["dtype"], t["shape"], data_of(t)) for t in g["tensors"]]
    config = g["config"]
    if change is not None:
        tensors = change(config, tensors)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    with open(f"{folder}/config.json", "w") as f:
        json.dump(config, f, indent=1)
    if g.get("generation_config"):
        with open(f"{folder}/generation_config.json", "w") as f:
            json.dump(g["generation_config"], f)
    write_weights(f"{folder}/model.safetensors", tensors)
    for name in glob.glob(f"{tokenizers}/{g['tokenizer']}/*"):
        if name.endswith(".gz"):
            with gzip.open(name) as f, open(f"{folder}/{os.path.basename(name)[:-3]}", "wb") as to:
                to.write(f.read())
        else:
            shutil.copy(name, folder)
