#!/usr/bin/env python3
"""Logits of transformers for test/infer/logits.test.ts: the example models on some prompts, and made-up models of each
architecture that Braid runs.

  pip install torch==2.15.0 transformers==5.23.0 safetensors==0.8.0 numpy
  python test/oracles/llama.py > test/oracles/llama.json

Weights of the made-up models follow from their names (`draw`), so that nothing has to be stored: a linear congruence seeded
with FNV-1a of the tensor's name, the upper 24 bits as a number in [-1/2, 1/2). float32 throughout, one thread, eager attention.
"""
import json, os, sys
import numpy as np
import torch, transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, AutoConfig

torch.set_num_threads(1)
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples", "models")
PROMPTS = ["43+47=", "rev:lvbyd=", "sort:wqhkbts=", "a", "12+34=46\nrev:abc=cba\nsort:zyx="]
MODELS = ["base", "ft-add", "tied-base", "tied-rev"]

SIZES = dict(vocab_size=61, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=6,
             num_key_value_heads=2, head_dim=8, max_position_embeddings=64, rms_norm_eps=1e-5, tie_word_embeddings=False,
             attn_implementation="eager", pad_token_id=None, bos_token_id=None, eos_token_id=None)
MADE = {
    "llama with biases": dict(model_type="llama", attention_bias=True, mlp_bias=True,
                              rope_parameters={"rope_type": "default", "rope_theta": 500.0}),
    "llama, tied, one head of keys, odd widths": dict(model_type="llama", num_key_value_heads=1, num_attention_heads=3, hidden_size=21,
                                          intermediate_size=37, head_dim=10, tie_word_embeddings=True),
    "llama with linear scaling": dict(model_type="llama", rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.5}),
    "llama with llama3 scaling": dict(model_type="llama", rope_parameters={
        "rope_type": "llama3", "rope_theta": 100.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16}),
    "mistral": dict(model_type="mistral", sliding_window=None),
    "qwen2": dict(model_type="qwen2"),
    "qwen3": dict(model_type="qwen3"),
}


def draw(name, shape):
    state = 2166136261
    for byte in name.encode():
        state = ((state ^ byte) * 16777619) & 0xFFFFFFFF
    count = int(np.prod(shape))
    out = np.empty(count, dtype=np.float32)
    for i in range(count):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        out[i] = (state >> 8) / 2.0**24 - 0.5
    return out.reshape(shape)


def numbers(x):
    return [float(np.format_float_scientific(v, unique=True)) for v in x.astype(np.float32)]


@torch.no_grad()
def shipped(name):
    folder = os.path.join(ROOT, name)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True, attn_implementation="eager").eval()
    tok = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    out = []
    for p in PROMPTS:
        ids = tok(p).input_ids
        logits = model(input_ids=torch.tensor([ids])).logits[0, -1].numpy()
        out.append({"prompt": p, "ids": ids, "logits": numbers(logits)})
    return out


@torch.no_grad()
def made(settings):
    both = {**SIZES, **settings}
    attn = both.pop("attn_implementation")
    config = AutoConfig.for_model(**both)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attn, dtype=torch.float32).eval()
    tensors = {}
    state = model.state_dict()
    for name, value in state.items():
        if both["tie_word_embeddings"] and name == "lm_head.weight":
            continue
        values = draw(name, tuple(value.shape))
        # Norms around one, so that nothing vanishes; the rest is as it is.
        if name.endswith("norm.weight"):
            values = (values + 1).astype(np.float32)
        state[name].copy_(torch.from_numpy(values))
        tensors[name] = list(value.shape)
    ids = [(i * 17 + 5) % 61 for i in range(40)]
    logits = model(input_ids=torch.tensor([ids])).logits[0].numpy()
    at = [0, 1, 7, 39]
    return {"config": config.to_dict(), "tensors": tensors, "ids": ids, "positions": at, "logits": [numbers(logits[i]) for i in at]}


json.dump({
    "versions": {"torch": torch.__version__, "transformers": transformers.__version__, "numpy": np.__version__},
    "models": {name: shipped(name) for name in MODELS},
    "made": {name: made(settings) for name, settings in MADE.items()},
}, sys.stdout, separators=(",", ":"))
