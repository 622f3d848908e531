"""Values of mergekit 0.1.5 for the recipes of this folder, on the stand-ins of test/support/stand-ins.ts: merged.json.

    python make_merged.py STAND_INS

STAND_INS holds a folder for each model that the recipes name, in float32. Recipes merge in float32 and without their tokenizer settings, so
that what is compared is the arithmetic; those that drop at random, have adapters or tokens of their own are left out.
"""

import json
import os
import sys
import tempfile

import torch
import yaml
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
from safetensors.torch import load_file

here = os.path.dirname(os.path.abspath(__file__))
expected = json.load(open(os.path.join(here, "expected.json")))
random = ("dare_linear", "dare_ties", "della", "della_linear")
parts = ["model.embed_tokens", "model.norm", "lm_head", "model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj",
         "model.layers.2.input_layernorm", "model.layers.3.mlp.up_proj", "model.layers.5.self_attn.o_proj"]
os.chdir(sys.argv[1])
merged = {}
for file, want in sorted(expected.items()):
    if want["braid"] != "accept" or "documents" in want or want["method"] in random:
        continue
    if any("+" in m for m in want["models"]):
        continue
    config = yaml.safe_load(open(os.path.join(here, file), encoding="utf-8-sig"))
    if (config.get("tokenizer") or {}).get("tokens"):
        continue
    for key in ("tokenizer", "tokenizer_source", "chat_template", "out_dtype"):
        config.pop(key, None)
    config["dtype"] = "float32"
    with tempfile.TemporaryDirectory() as out:
        run_merge(MergeConfiguration.model_validate(config), out, MergeOptions(copy_tokenizer=False, write_model_card=False))
        tensors = {}
        for name in os.listdir(out):
            if name.endswith(".safetensors"):
                tensors |= load_file(os.path.join(out, name))
    picked = {}
    for part in parts:
        t = tensors.get(part + ".weight")
        if t is None:
            continue
        t = t.to(torch.float64).flatten()
        picked[part + ".weight"] = {
            "first": [round(x, 8) for x in t[:6].tolist()],
            "sum": round(t.sum().item(), 6),
            "norm": round(t.norm().item(), 6),
        }
    merged[file] = picked
with open(os.path.join(here, "merged.json"), "w") as f:
    json.dump(merged, f, indent=1)
    f.write("\n")
print(len(merged), "recipes")
