"""make_checkpoint.py TOKENIZER_FOLDER FOLDER CONFIG: a small BF16 Llama with a real tokenizer."""
import json
import os
import shutil
import sys

import torch
from safetensors.torch import save_file

tokenizer, folder, changes = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
os.makedirs(folder)
for name in os.listdir(tokenizer):
    shutil.copy(os.path.join(tokenizer, name), folder)
with open(os.path.join(folder, "tokenizer.json"), encoding="utf-8") as f:
    parsed = json.load(f)
rows = 1 + max(list(parsed["model"]["vocab"].values()) + [t["id"] for t in parsed["added_tokens"]])
hidden, feed_forward, layers, heads, kv_heads = 64, 96, 3, 4, 2
config = dict(architectures=["LlamaForCausalLM"], model_type="llama", hidden_size=hidden,
              intermediate_size=feed_forward, num_hidden_layers=layers, num_attention_heads=heads,
              num_key_value_heads=kv_heads, vocab_size=rows, rms_norm_eps=1e-5, max_position_embeddings=256,
              tie_word_embeddings=True, rope_theta=500000.0)
config.update(changes)
with open(os.path.join(folder, "config.json"), "w") as f:
    json.dump(config, f)
generator = torch.Generator().manual_seed(1)
head_dim = config.get("head_dim") or hidden // heads
tensors = {}


def add(name, *shape):
    # Sizes that keep what flows through the model near 1, so that its logits tell something.
    values = torch.randn(*shape, generator=generator)
    values = values * (2 / shape[1] ** 0.5) if len(shape) == 2 else values * 0.1 + name.endswith("norm.weight")
    tensors[name] = values.to(torch.bfloat16)


add("model.embed_tokens.weight", rows, hidden)
add("model.norm.weight", hidden)
if not config["tie_word_embeddings"]:
    add("lm_head.weight", rows, hidden)
for i in range(layers):
    prefix = f"model.layers.{i}."
    add(prefix + "input_layernorm.weight", hidden)
    add(prefix + "post_attention_layernorm.weight", hidden)
    for name, out, into, bias in (("self_attn.q_proj", heads * head_dim, hidden, "attention_bias"),
                                  ("self_attn.k_proj", kv_heads * head_dim, hidden, "attention_bias"),
                                  ("self_attn.v_proj", kv_heads * head_dim, hidden, "attention_bias"),
                                  ("self_attn.o_proj", hidden, heads * head_dim, "attention_bias"),
                                  ("mlp.gate_proj", feed_forward, hidden, "mlp_bias"),
                                  ("mlp.up_proj", feed_forward, hidden, "mlp_bias"),
                                  ("mlp.down_proj", hidden, feed_forward, "mlp_bias")):
        add(prefix + name + ".weight", out, into)
        if config.get(bias):
            add(prefix + name + ".bias", out)
save_file(tensors, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
