"""classes.py NIBBLE GOLDENS SEED [NAME...]: fresh tiny checkpoints of every class that transformers knows, with other sizes,
biases, tied embeddings, rotary settings, dtypes and shards than the goldens have; the reference's converter and nibble must
write the same bytes.

A golden's config.json is changed by rules; what tensors a checkpoint with such a config has, transformers' class says.
A name is that of a golden, or of other_classes.py. What disagrees is left in the current folder.
"""
import glob
import gzip
import json
import multiprocessing
import os
import random
import re
import shutil
import subprocess
import sys
import traceback

import numpy
import torch
import transformers
from safetensors.torch import save_file

import conversion.base
import convert_hf_to_gguf
from compare import load
from other_classes import OTHERS

nibble, goldens, seed, *only = sys.argv[1:]
transformers.logging.set_verbosity_error()
torch.set_num_threads(1)

# Classes of which an entry may be true: elsewhere llama.cpp has no place for such biases.
MAY_BE_TRUE = {
    "attention_bias": ["LlamaForCausalLM", "ApertusForCausalLM", "BambaForCausalLM", "Glm4ForCausalLM",
                       "Glm4MoeForCausalLM", "GraniteForCausalLM", "GraniteMoeForCausalLM",
                       "GraniteMoeHybridForCausalLM", "NemotronForCausalLM"],
    "mlp_bias": ["LlamaForCausalLM", "GraniteForCausalLM", "NemotronForCausalLM"],
}
ALWAYS_TRUE = {"attention_bias": ["GptOssForCausalLM", "SeedOssForCausalLM", "GlmForCausalLM"]}
NEVER_TIED = ["DbrxForCausalLM", "GptOssForCausalLM", "Llama4ForCausalLM"]
# Classes for which the reference does not write an entry that others have, so that it must be as llama.cpp takes it.
FIXED_BASE = ["GPTNeoXForCausalLM", "StableLmForCausalLM", "HunYuanDenseV1ForCausalLM", "PhiForCausalLM"]
FIXED_EPSILON = ["OlmoeForCausalLM"]
FIXED_CONTEXT = ["HunYuanDenseV1ForCausalLM"]
# Padded to a multiple of 8 or 16, but not the embedding, so that llama.cpp does not load other vocabularies.
PADS_VOCABULARY = ["BambaForCausalLM", "GraniteMoeHybridForCausalLM", "MambaForCausalLM", "FalconMambaForCausalLM",
                   "Mamba2ForCausalLM"]
FOUR_TIMES = ["GPTBigCodeForCausalLM", "PhiForCausalLM"] # size of the feed-forward layers by that of the embeddings
UNSCALED = ["Cohere2ForCausalLM", "OlmoForCausalLM", "Olmo2ForCausalLM", "PhiForCausalLM", "Phi3ForCausalLM", "StableLmForCausalLM"]
SCALED_LIKE_LLAMA_3 = ["LlamaForCausalLM", "ArceeForCausalLM", "SmolLM3ForCausalLM", "Exaone4ForCausalLM", "Llama4ForCausalLM"]
LEFT_OUT = {"gemma3n": "its vision tower needs another package",
            "llama_nvfp4": "transformers makes weights of floats, but the reference goes by the config"}
# Rotary scaling that the reference writes for any class of a plain Llama's shape.
ROTARY = [
    None,
    {"rope_type": "linear", "factor": 2.5},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
    {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 128, "attention_factor": 0.75},
]
LLAMA3 = {"rope_type": "llama3", "factor": 16.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 96}


def read_golden(name):
    with gzip.open(os.path.join(goldens, name + ".json.gz")) as f:
        return json.load(f)


# --- changing a config ---------------------------------------------------------------------------------------------

def first(config, *names):
    """The first of the entries that the config has."""
    return next((n for n in names if config.get(n) is not None), None)


def by_layer(values, old, new):
    """A list with an element for each layer, for another number of them."""
    return [values[i % old] for i in range(new)] if isinstance(values, list) and len(values) == old else values


def vary_layers(config, rng):
    name = first(config, "num_hidden_layers", "n_layer", "n_layers", "num_layers")
    old, new = config[name], rng.choice([2, 3, 5, 6])
    for key, values in list(config.items()):
        config[key] = by_layer(values, old, new)
    config[name] = new


def vary_heads(config, rng):
    """Heads, their length, and the hidden size."""
    heads = first(config, "num_attention_heads", "n_head", "n_heads")
    hidden = first(config, "hidden_size", "n_embd", "d_model", "n_embed")
    if heads is None or "kv_lora_rank" in config:
        config[hidden] = rng.choice([48, 96, 128])
        return
    kv = first(config, "num_key_value_heads", "num_kv_heads")
    # Where few heads share a key, some of any number do; all keep that every head has its own.
    count = rng.choice([2, 4, 6, 8])
    groups = rng.choice([g for g in (1, 2, 3, 4) if count % g == 0])
    if kv is not None:
        config[kv] = count // groups if config[kv] != config[heads] or rng.random() < 0.5 else count
    old_length = config[hidden] // config[heads]
    config[heads] = count
    length = rng.choice([16, 24, 32])
    if config.get("head_dim") not in (None, 0):
        config["head_dim"] = length if config["head_dim"] != 128 else 128
        config[hidden] = rng.choice([48, 64, 96, 128])
    else:
        config[hidden] = count * (length if old_length < 64 else old_length)


def vary_sizes(config, rng):
    sizes = [48, 80, 96, 160, 192]
    for name in ("intermediate_size", "n_inner", "ffn_hidden_size", "moe_intermediate_size", "shared_intermediate_size",
                 "shared_expert_intermediate_size", "intermediate_size_mlp", "expert_ffn_hidden_size"):
        if isinstance(config.get(name), int) and config[name] > 0:
            config[name] = rng.choice(sizes)
    if "kv_lora_rank" in config:
        config["num_attention_heads"] = config["num_key_value_heads"] = rng.choice([2, 3, 6])
        config["kv_lora_rank"] = rng.choice([16, 48])
        config["q_lora_rank"] = rng.choice([24, 64])
        config["qk_nope_head_dim"] = rng.choice([16, 24])
        config["qk_rope_head_dim"] = rng.choice([8, 16])
        config["v_head_dim"] = rng.choice([16, 24, 40])


def vary_experts(config, rng):
    count = first(config, "num_local_experts", "n_routed_experts", "num_experts", "moe_num_experts")
    used = first(config, "num_experts_per_tok", "moe_topk", "moe_k")
    if count is None or used is None or not isinstance(config[count], int) or config[count] < 2:
        return
    group = config.get("n_group") or 1
    config[count] = rng.choice([4, 6, 9]) if group == 1 else 2 * group
    if isinstance(config[used], int):
        config[used] = rng.choice([1, 2, 3]) if not isinstance(config.get("moe_topk"), list) else config[used]
    if config.get("n_shared_experts"):
        config["n_shared_experts"] = rng.choice([1, 2])


def vary_rotation(config, rng, class_name):
    base = first(config, "rope_theta", "rotary_emb_base")
    if base is not None and class_name not in FIXED_BASE:
        config[base] = rng.choice([10000.0, 25000.0, 500000.0, 1000000.0])
    if "rope_scaling" in config and not config["rope_scaling"] and class_name not in UNSCALED:
        chosen = rng.choice(ROTARY + ([LLAMA3] if class_name in SCALED_LIKE_LLAMA_3 else []))
        config["rope_scaling"] = chosen and dict(chosen)


def vary_flags(config, rng, class_name):
    for name, classes in MAY_BE_TRUE.items():
        if name in config:
            config[name] = class_name in ALWAYS_TRUE.get(name, []) or (class_name in classes and rng.random() < 0.5)
    if isinstance(config.get("tie_word_embeddings"), bool) and class_name not in NEVER_TIED:
        config["tie_word_embeddings"] = rng.random() < 0.5
    for name in ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"):
        if name in config and class_name not in FIXED_EPSILON:
            config[name] = rng.choice([1e-5, 1e-6, 3e-6])
    if "max_position_embeddings" in config and class_name not in FIXED_CONTEXT:
        config["max_position_embeddings"] = rng.choice([192, 1000, 4096])
    if config.get("sliding_window"):
        config["sliding_window"] = rng.choice([8, 24, 100])
    if "vocab_size" in config:  # rows beyond the last token
        config["vocab_size"] += rng.choice([0, 16, 48] if class_name in PADS_VOCABULARY else [0, 0, 1, 8, 56])


# What depends on what has been changed, by class.

def mend_mamba2(config, rng):  # and attention
    config["mamba_d_head"] = rng.choice([8, 16])
    config["mamba_n_heads"] = config["mamba_expand"] * config["hidden_size"] // config["mamba_d_head"]
    if config.get("attn_layer_indices"):
        config["attn_layer_indices"] = [config["num_hidden_layers"] - 1]
    if config.get("layer_types"):
        config["layer_types"] = ["mamba"] + [rng.choice(["mamba", "attention"]) for _ in range(config["num_hidden_layers"] - 1)]


def mend_mamba2_alone(config, rng):
    config["head_dim"] = rng.choice([8, 16])
    config["num_heads"] = config["expand"] * config["hidden_size"] // config["head_dim"]
    for name in ("num_attention_heads", "num_key_value_heads", "intermediate_size"):
        config.pop(name, None)


def mend_falcon_h1(config, rng):
    config["mamba_n_heads"] = rng.choice([4, 6, 8])
    config["mamba_d_ssm"] = config["mamba_n_heads"] * config["mamba_d_head"]


def mend_mamba(config, rng):
    config["expand"] = 2
    inner = 2 * config["hidden_size"]
    for name, value in (("intermediate_size", inner), ("d_inner", inner), ("d_model", config["hidden_size"])):
        if name in config:
            config[name] = value


def mend_lfm2(config, rng):
    config["full_attn_idxs"] = sorted(rng.sample(range(config["num_hidden_layers"]), 1))
    config["block_dim"] = config["conv_dim"] = config["conv_dim_out"] = config["hidden_size"]
    config["num_heads"] = config["num_attention_heads"]


def mend_llama4(config, rng):
    for name in ("moe_layers", "layer_types"):
        config.pop(name, None)


def mend_head_length(config, rng):
    config["head_dim"] = rng.choice([16, 24, 32])
    config["hidden_size"] = config["head_dim"] * config["num_attention_heads"]


def mend_phi(config, rng):
    config["num_key_value_heads"] = config["num_attention_heads"]


def mend_ernie_moe(config, rng):  # as large as llama.cpp takes its shared experts to be
    size = config["intermediate_size"] // config["num_key_value_heads"]
    config["moe_intermediate_size"], config["moe_num_shared_experts"] = size, 1


def mend_gpt_oss(config, rng):
    config.pop("quantization_config", None)  # transformers makes the other form, that of floats


def mend_dbrx(config, rng):
    heads, kv = rng.choice([(4, 4), (6, 2), (8, 2)])
    config["n_heads"], config["attn_config"]["kv_n_heads"] = heads, kv
    config["d_model"] = 16 * heads
    config["ffn_config"]["ffn_hidden_size"] = rng.choice([48, 96])
    config["ffn_config"]["moe_num_experts"] = rng.choice([3, 5])


def mend_sections(config, rng):
    half = config["head_dim"] // 2 if config.get("head_dim") else config["hidden_size"] // config["num_attention_heads"] // 2
    config["rope_scaling"]["mrope_section"] = [half - 2 * (half // 3), half // 3, half // 3]


def mend_long_factors(config, rng):
    half = config["hidden_size"] // config["num_attention_heads"] // 2
    for name in ("short_factor", "long_factor"):
        config["rope_scaling"][name] = [round(rng.uniform(1, 9), 3) for _ in range(half)]


def mend_further_layers(config, rng):
    config["num_nextn_predict_layers"] = rng.choice([0, 1])


def mend_qwen3_next(config, rng):
    config["num_hidden_layers"] = rng.choice([4, 5, 8])  # the fourth one has full attention
    config["linear_num_key_heads"] = rng.choice([1, 2, 3])
    config["linear_num_value_heads"] = config["linear_num_key_heads"] * rng.choice([1, 2])


MEND = {
    "BambaForCausalLM": mend_mamba2, "GraniteMoeHybridForCausalLM": mend_mamba2, "FalconH1ForCausalLM": mend_falcon_h1,
    "FalconMambaForCausalLM": mend_mamba, "MambaForCausalLM": mend_mamba, "Lfm2ForCausalLM": mend_lfm2,
    "Llama4ForCausalLM": mend_llama4, "DbrxForCausalLM": mend_dbrx, "GptOssForCausalLM": mend_gpt_oss, "PhiForCausalLM": mend_phi,
    "Ernie4_5_MoeForCausalLM": mend_ernie_moe,
    "Cohere2ForCausalLM": mend_head_length, "Qwen3VLForConditionalGeneration": mend_sections,
    "Qwen2VLForConditionalGeneration": mend_sections, "Qwen2_5_VLForConditionalGeneration": mend_sections,
    "Qwen3VLMoeForConditionalGeneration": mend_sections, "Mamba2ForCausalLM": mend_mamba2_alone,
    "Glm4MoeForCausalLM": mend_further_layers, "DeepseekV3ForCausalLM": mend_further_layers,
    "Qwen3NextForCausalLM": mend_qwen3_next,
}


def vary(config, rng, class_name):
    text = config.get("text_config", config)
    vary_layers(text, rng)
    vary_heads(text, rng)
    vary_sizes(text, rng)
    vary_experts(text, rng)
    vary_rotation(text, rng, class_name)
    vary_flags(text, rng, class_name)
    if class_name in MEND:
        MEND[class_name](text, rng)
    if "long_factor" in (text.get("rope_scaling") or {}):
        mend_long_factors(text, rng)
    if class_name in FOUR_TIMES:
        size, embedding = first(text, "n_inner", "intermediate_size"), first(text, "n_embd", "hidden_size")
        text[size] = 4 * text[embedding]
    if text is not config and "tie_word_embeddings" in text:
        config["tie_word_embeddings"] = text["tie_word_embeddings"]


# --- making a checkpoint --------------------------------------------------------------------------------------------

def stored_tensors(config, class_name):
    """Names and shapes of a checkpoint with this config, as save_pretrained would write it."""
    cls = getattr(transformers, class_name)
    parsed = cls.config_class.from_dict(json.loads(json.dumps(config)))
    try:
        with torch.device("meta"):
            model = cls(parsed)
    except NotImplementedError:  # a class that looks at values while it is made
        model = cls(parsed)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    text = parsed.get_text_config()
    if getattr(text, "tie_word_embeddings", False):
        for name in model._tied_weights_keys or []:
            shapes.pop(name, None)
    for theirs, ours in reversed((getattr(model, "_checkpoint_conversion_mapping", None) or {}).items()):
        beginning = re.sub(r"[\^$]|\(.*\)", "", theirs)
        shapes = {re.sub("^" + re.escape(ours) + r"\b", beginning, name): shape for name, shape in shapes.items()}
    return shapes


def further_layers(shapes, config, class_name):
    """Next-token blocks, which transformers does not run: each is as the last layer, with a little around it."""
    text = config.get("text_config", config)
    hidden, vocab, layers = (text.get(n) for n in ("hidden_size", "vocab_size", "num_hidden_layers"))
    if class_name == "Qwen3NextForCausalLM":
        like, prefix = 3, "mtp.layers.0."
        around = {"mtp.fc.weight": (hidden, 2 * hidden), "mtp.norm.weight": (hidden,),
                  "mtp.pre_fc_norm_embedding.weight": (hidden,), "mtp.pre_fc_norm_hidden.weight": (hidden,)}
    elif text.get("num_nextn_predict_layers"):
        like, prefix = layers - 1, f"model.layers.{layers}."
        around = {"eh_proj.weight": (hidden, 2 * hidden), "enorm.weight": (hidden,), "hnorm.weight": (hidden,),
                  "embed_tokens.weight": (vocab, hidden), "shared_head.head.weight": (vocab, hidden),
                  "shared_head.norm.weight": (hidden,)}
        around = {prefix + name: shape for name, shape in around.items()}
    else:
        return
    beginning = f"model.layers.{like}."
    shapes.update({prefix + name[len(beginning):]: shape for name, shape in list(shapes.items()) if name.startswith(beginning)})
    shapes.update(around)


def write_checkpoint(folder, golden, config, rng):
    class_name = config["architectures"][0]
    dtypes = rng.choice([[torch.bfloat16], [torch.float16], [torch.float32], [torch.bfloat16, torch.float32]])
    generator = numpy.random.default_rng(rng.getrandbits(64))
    shards = [{} for _ in range(rng.choice([1, 1, 2, 3]))]
    shapes = stored_tensors(config, class_name)
    further_layers(shapes, config, class_name)
    for name, shape in shapes.items():
        values = torch.from_numpy(generator.uniform(-0.5, 0.5, shape).astype(numpy.float32))
        rng.choice(shards)[name] = values.to(dtypes[-1] if len(shape) < 2 else dtypes[0])
    shards = [s for s in shards if s]
    os.makedirs(folder)
    names = ["model.safetensors"] if len(shards) == 1 else [
        f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
    for name, tensors in zip(names, shards):
        save_file(tensors, os.path.join(folder, name), metadata={"format": "pt"})
    if len(shards) > 1:
        weight_map = {tensor: name for name, tensors in zip(names, shards) for tensor in tensors}
        write_json(folder, "model.safetensors.index.json", {"metadata": {}, "weight_map": weight_map})
    write_json(folder, "config.json", config)
    if golden.get("generation_config"):
        write_json(folder, "generation_config.json", golden["generation_config"])
    tokenizer = os.path.join(goldens, "tokenizers", golden["tokenizer"])
    for name in os.listdir(tokenizer):
        with gzip.open(os.path.join(tokenizer, name)) as f, open(os.path.join(folder, name[:-3]), "wb") as g:
            shutil.copyfileobj(f, g)


def write_json(folder, name, value):
    with open(os.path.join(folder, name), "w") as f:
        json.dump(value, f, indent=1)


# --- converting and comparing -----------------------------------------------------------------------------------------

def reference(folder, outtype, pre, out):
    if pre is not None:
        conversion.base.TextModel.get_vocab_base_pre = lambda self, tokenizer: pre
    sys.argv = ["convert_hf_to_gguf.py", folder, "--outtype", outtype, "--outfile", out]
    convert_hf_to_gguf.main()


def ours(folder, outtype, pre, out):
    command = [nibble, "quantize", folder, "-t", outtype, "-o", out, "--allow-other-tokens"]
    if pre is not None:
        command += ["--pre-tokenizer", pre]
    return subprocess.run(command, capture_output=True, text=True)


def are_near(a, b):
    """Whether two F32 tensors, with shape and type, have the same values but for the last bit."""
    bits = [numpy.frombuffer(t[2], dtype=numpy.int32) for t in (a, b) if t is not None]
    return len(bits) == 2 and a[:2] == b[:2] and abs(bits[0] - bits[1]).max() <= 1


def differences(theirs, found):
    """The keys and tensors that differ, but for those that formats/README.md says why."""
    for kind, a, b in zip(("key", "tensor"), load(theirs), load(found)):
        for name in list(a) + [n for n in b if n not in a]:
            if a.get(name) != b.get(name) and not (name.endswith(".ssm_a") and are_near(a.get(name), b.get(name))):
                yield f"{kind} {name}: {str(a.get(name))[:160]} but ours {str(b.get(name))[:160]}"


def compare(name):
    """Runs in a process of its own, for the reference keeps things between two models. Returns a verdict and its line."""
    golden = OTHERS.get(name) or read_golden(name)
    rng = random.Random(f"{seed} {name}")
    config = golden["config"]
    class_name = config["architectures"][0]
    folder, theirs, found = (os.path.abspath(f"classes-{name}{ending}") for ending in ("", "-reference.gguf", ".gguf"))
    vary(config, rng, class_name)
    try:
        write_checkpoint(folder, golden, config, rng)
    except Exception as e:
        return "fails", f"{class_name}: transformers does not make such a model: {e!r:.300}"
    outtype = rng.choice(["f16", "bf16", "f32"])
    run = ours(folder, outtype, golden.get("pre"), found)
    try:
        reference(folder, outtype, golden.get("pre"), theirs)
    except (Exception, SystemExit) as e:
        return "fails", f"{class_name}: the reference fails: {e!r:.300}; nibble: exit code {run.returncode} {run.stderr:.200}"
    if run.returncode != 0:
        return "fails", f"{class_name}: exit code {run.returncode}: {run.stderr.strip()}"
    with open(theirs, "rb") as f, open(found, "rb") as g:
        if f.read() != g.read():
            lines = list(differences(theirs, found))
            if lines:
                return "fails", "\n    ".join([f"{class_name}: differs:"] + lines[:5])
    shutil.rmtree(folder)
    os.remove(theirs)
    os.remove(found)
    return "agrees", class_name


def guarded(name):
    sys.stdout.flush()
    with open(f"classes-{name}.log", "w") as log:
        os.dup2(log.fileno(), 2)
        try:
            return compare(name)
        except Exception:
            return "fails", traceback.format_exc()


def main():
    names = [os.path.basename(p)[:-8] for p in sorted(glob.glob(os.path.join(goldens, "*.json.gz")))]
    names = [n for n in names if hasattr(transformers, read_golden(n)["config"]["architectures"][0])] + list(OTHERS)
    names = only or [n for n in names if n not in LEFT_OUT]
    failed, classes = [], set()
    context = multiprocessing.get_context("fork")
    with context.Pool(2, maxtasksperchild=1) as pool:
        for name, (verdict, line) in zip(names, pool.imap(guarded, names, chunksize=1)):
            if verdict == "agrees":
                classes.add(line)
            else:
                failed.append(name)
                print(f"classes: {name}: {line}", flush=True)
    print(f"classes: seed {seed}: {len(names) - len(failed)} checkpoints of {len(classes)} classes are converted as by the reference"
          + (f"; not {', '.join(failed)}" if failed else ""))
    sys.exit(bool(failed) or (not only and len(classes) < 40))


main()
