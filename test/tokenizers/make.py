"""Makes the small models of this folder, each with a tokenizer of its own, and what mergekit makes of them: the oracle of
test/tokenizers.test.ts.

Run from the top of the project: python test/tokenizers/make.py [--models]
(mergekit 0.1.5, tokenizers 0.23.3, transformers 5.23.0, sentencepiece 0.2.3, torch 2.15.0; the union of mergekit gives tokens
other ids on every run, so what is kept of an output is its rows by token.)
"""
import json, os, shutil, subprocess, sys, tempfile
import sentencepiece, torch, yaml
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

here = os.path.dirname(os.path.relpath(__file__))
prose = """The river runs past the mill and the old bridge. In the morning the miller opens the gate and the wheel begins to turn.
Children run along the river and throw stones into the water. The water is cold, and the stones are smooth and round."""
code = """def merge(models, weights):
    total = sum(weights)
    return [sum(w * m[i] for w, m in zip(weights, models)) / total for i in range(len(models[0]))]
for index, model in enumerate(models):
    print(index, model.name, model.weights)"""


def byte_level(text, size, first=()):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=list(first), initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([text], trainer)
    return tokenizer


def save_model(name, rows, seed, tied=False, **ids):
    torch.manual_seed(seed)
    config = LlamaConfig(vocab_size=rows, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
                         num_key_value_heads=1, max_position_embeddings=32, tie_word_embeddings=tied, **ids)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn_like(p))
    model.save_pretrained(f"{here}/{name}")


def make_models():
    for name in ("alpha", "beta", "gamma", "delta"):
        shutil.rmtree(f"{here}/{name}", ignore_errors=True)
    # alpha: special tokens after the vocabulary, and rows of padding behind them.
    alpha = byte_level(prose, 300)
    alpha.add_special_tokens(["<|bos|>", "<|eos|>", "<|pad|>"])
    fast = PreTrainedTokenizerFast(tokenizer_object=alpha, bos_token="<|bos|>", eos_token="<|eos|>", pad_token="<|pad|>")
    fast.save_pretrained(f"{here}/alpha")
    save_model("alpha", 320, 1, bos_token_id=300, eos_token_id=301, pad_token_id=302)
    # gamma: alpha with two tokens more, one of which stands where alpha has padding that was never used.
    fast.add_special_tokens({"additional_special_tokens": [AddedToken("<|start|>", special=True)]})
    fast.add_tokens([AddedToken(" stones", normalized=False, special=False)])
    fast.save_pretrained(f"{here}/gamma")
    save_model("gamma", 320, 2, bos_token_id=300, eos_token_id=301, pad_token_id=302)
    # beta: another vocabulary, special tokens first, no padding.
    beta = byte_level(code, 290, ["<|eos|>", "<|chat|>", "<|bos|>"])
    fast = PreTrainedTokenizerFast(tokenizer_object=beta, bos_token="<|bos|>", eos_token="<|eos|>")
    fast.save_pretrained(f"{here}/beta")
    save_model("beta", 290, 3, bos_token_id=2, eos_token_id=0)
    # delta: SentencePiece, without a tokenizer.json.
    with tempfile.TemporaryDirectory() as temp:
        with open(f"{temp}/text", "w") as f:
            f.write(prose + "\n" + code)
        sentencepiece.SentencePieceTrainer.train(input=f"{temp}/text", model_prefix=f"{temp}/m", vocab_size=340, model_type="bpe",
                                                 byte_fallback=True, hard_vocab_limit=False, minloglevel=2,
                                                 normalization_rule_name="identity")
        os.makedirs(f"{here}/delta")
        shutil.copy(f"{temp}/m.model", f"{here}/delta/tokenizer.model")
    size = sentencepiece.SentencePieceProcessor(f"{here}/delta/tokenizer.model").get_piece_size()
    special = dict(lstrip=False, rstrip=False, normalized=False, single_word=False, special=True)
    config = dict(tokenizer_class="LlamaTokenizer", bos_token="<s>", eos_token="</s>", unk_token="<unk>", legacy=False,
                  added_tokens_decoder={str(i): dict(content=t, **special) for i, t in
                                        [(0, "<unk>"), (1, "<s>"), (2, "</s>"), (size, "<|chat|>")]})
    with open(f"{here}/delta/tokenizer_config.json", "w") as f:
        json.dump(config, f, indent=1)
    with open(f"{here}/delta/added_tokens.json", "w") as f:
        json.dump({"<|chat|>": size}, f)
    save_model("delta", size + 1, 4, bos_token_id=1, eos_token_id=2)


def linear(*names, base=None, **more):
    """A recipe whose weights differ, so that a row of the wrong model shows."""
    weights = dict(zip(names, (0.5, 0.3, 0.2)))
    models = [dict(model=f"{here}/{n}", parameters=dict(weight=weights[n])) for n in names]
    return dict(merge_method="linear", **(dict(base_model=f"{here}/{base}") if base else {}), models=models, dtype="float32", **more)


def model_token(name, **which):
    return dict(kind="model_token", model=f"{here}/{name}", **which)


cases = {
    "base": linear("alpha", "beta", base="alpha", tokenizer_source="base"),
    "model": linear("alpha", "beta", base="alpha", tokenizer_source=f"{here}/beta"),
    "outside": linear("alpha", "beta", base="alpha", tokenizer_source=f"{here}/gamma"),
    "union": linear("alpha", "beta", base="alpha", tokenizer_source="union"),
    "union-of-three": linear("alpha", "beta", "gamma", base="gamma", tokenizer_source="union"),
    # Without a base, tokens that one model lacks get the mean of the others'.
    "union-without-base": linear("alpha", "beta", "gamma", tokenizer_source="union"),
    "pieces": linear("delta", "alpha", base="delta", tokenizer_source="base"),
    "union-of-kinds": linear("alpha", "delta", base="alpha", tokenizer_source="union"),
    "padded": linear("alpha", "beta", base="beta", tokenizer=dict(source="base", pad_to_multiple_of=64)),
    "rules": linear("alpha", "beta", "gamma", base="alpha", tokenizer=dict(source="union", tokens={
        "<|chat|>": dict(source=dict(kind="zero")),
        "<|start|>": dict(source=model_token("beta", token="<|chat|>")),
        " stones": dict(source=model_token("alpha", token_id=7)),
        "<|eos|>": dict(source=f"{here}/beta", force=True),
        "<|bos|>": dict(source=f"{here}/beta"),
        "a": dict(source=dict(kind="zero"), force=True),
        "<|new|>": dict(source=model_token("gamma", token="<|pad|>")),
        "<|empty|>": dict(source=dict(kind="zero")),
    })),
    "rules-on-base": linear("alpha", "beta", base="alpha", tokenizer=dict(source="base", tokens={
        "<|chat|>": dict(source=f"{here}/beta"),
        "<|eos|>": dict(source=model_token("alpha", token="<|pad|>"), force=True),
    })),
}


def run_mergekit(recipe):
    with tempfile.TemporaryDirectory() as temp:
        with open(f"{temp}/recipe.yml", "w") as f:
            yaml.safe_dump(recipe, f)
        command = [os.path.join(os.path.dirname(sys.executable), "mergekit-yaml"), f"{temp}/recipe.yml", f"{temp}/out", "--quiet"]
        subprocess.run(command, check=True, stderr=None if "-v" in sys.argv else subprocess.DEVNULL)
        ids = AutoTokenizer.from_pretrained(f"{temp}/out").get_vocab()
        return ids, load_file(f"{temp}/out/model.safetensors")


def make_cases():
    shutil.rmtree(f"{here}/mergekit", ignore_errors=True)
    os.makedirs(f"{here}/mergekit")
    facts = {}
    for name, recipe in cases.items():
        ids, tensors = run_mergekit(recipe)
        tokens = sorted(ids)
        rows = [ids[t] for t in tokens]
        embed, head = tensors["model.embed_tokens.weight"], tensors["lm_head.weight"]
        facts[name] = dict(recipe=recipe, rows=len(embed), tokens=tokens)
        if not name.startswith("union") and name != "rules":
            facts[name]["ids"] = rows
        save_file(dict(embed=embed[rows].contiguous(), head=head[rows].contiguous()), f"{here}/mergekit/{name}.safetensors")
        print(name, len(tokens), "tokens,", len(embed), "rows")
    with open(f"{here}/mergekit/cases.json", "w") as f:
        json.dump(facts, f, indent=0, ensure_ascii=True)


if __name__ == "__main__":
    if "--models" in sys.argv:
        make_models()
    make_cases()
