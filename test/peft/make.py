"""Makes the adapters of this folder with PEFT, and what PEFT itself makes of them: the oracle of test/adapter.test.ts.

Run from the top of the project: python test/peft/make.py (peft 0.21.2, transformers 5.23.0, torch 2.15.0).
"""
import os, sys, torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel, LlamaForCausalLM


tiny = "test/golden/inputs/tiny-base"
attention = ["q_proj", "v_proj"]
cases = {
    "plain": dict(r=4, lora_alpha=6, target_modules=attention + ["down_proj"]),
    "rslora": dict(r=4, lora_alpha=6, target_modules=attention, use_rslora=True),
    "patterns": dict(r=4, lora_alpha=8, target_modules=attention + ["up_proj"],
                     rank_pattern={"q_proj": 2, r"layers\.1\.self_attn\.v_proj": 3}, alpha_pattern={"up_proj": 5, "v_proj": 1}),
    "dora": dict(r=3, lora_alpha=7, target_modules=attention + ["gate_proj"], use_dora=True),
    "embedding": dict(r=3, lora_alpha=4, target_modules=["embed_tokens", "q_proj"]),
    "saved": dict(r=2, lora_alpha=4, target_modules=["q_proj"], modules_to_save=["lm_head"]),
    "bias": dict(r=2, lora_alpha=3, target_modules=["c_attn", "c_fc"], lora_bias=True, fan_in_fan_out=True),
    "transposed": dict(r=2, lora_alpha=3, target_modules=["c_attn", "c_proj", "wte"], fan_in_fan_out=True),
}

def base_model(name):
    if name in ("bias", "transposed"):
        path = "test/peft/gpt2"
        if not os.path.isdir(path):
            torch.manual_seed(1)
            model = GPT2LMHeadModel(GPT2Config(vocab_size=19, n_positions=8, n_embd=12, n_layer=2, n_head=2))
            model.save_pretrained(path)
        return GPT2LMHeadModel.from_pretrained(path, dtype=torch.float32)
    return LlamaForCausalLM.from_pretrained(tiny, dtype=torch.float32)

for name, options in cases.items():
    if len(sys.argv) > 1 and name not in sys.argv[1:]:
        continue
    torch.manual_seed(sum(map(ord, name)))
    model = get_peft_model(base_model(name), LoraConfig(task_type="CAUSAL_LM", **options))
    with torch.no_grad():
        for key, value in model.named_parameters():
            if value.requires_grad:
                # Magnitudes stay near the rows' own lengths.
                value.copy_(value * (1 + 0.1 * torch.rand_like(value)) if "magnitude" in key else 0.2 * torch.randn_like(value))
    folder = os.path.join("test/peft", name)
    model.save_pretrained(folder)
    for extra in ("README.md",):
        if os.path.exists(os.path.join(folder, extra)):
            os.remove(os.path.join(folder, extra))
    merged = model.merge_and_unload()
    state = {k: v.contiguous().clone() for k, v in merged.state_dict().items()}
    if merged.config.tie_word_embeddings:
        state.pop("lm_head.weight", None)
    os.makedirs("test/peft/merged", exist_ok=True)
    save_file(state, f"test/peft/merged/{name}.safetensors", metadata={"format": "pt"})
    print(name, len(state))
