"""A Qwen2.5 in everything but size: its special tokens and chat format, a tokenizer and weights made here."""

from __future__ import annotations

import json
from pathlib import Path

#: Qwen2.5's added tokens, in the order of their ids; the first three are special in its tokenizer.
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
ADDED = ("<|fim_prefix|>", "<tool_call>", "</tool_call>")

#: The turns of ChatML, with Qwen2.5's rule that a conversation without a system message gets one.
TEMPLATE = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

#: How Qwen2 splits a text before its byte-level BPE.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def make_tokenizer(folder: Path, texts: list[str], vocab_size: int = 600) -> None:
    """Train a tokenizer and write its files as transformers does."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in ADDED])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "chat_template": TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def make_model(folder: Path, examples: dict[str, str], system: str, steps: int = 120) -> None:
    """Train a model on the tokenizer in ``folder`` until it answers each of the texts as it should."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from udfs.labels.chat import ChatFormat, Message

    chat = ChatFormat(folder)
    tokens = json.loads((folder / "tokenizer.json").read_text())["added_tokens"]
    torch.manual_seed(7)
    config = Qwen2Config(
        vocab_size=max(token["id"] for token in tokens) + 1, hidden_size=64, intermediate_size=128,
        num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=4096,
        tie_word_embeddings=True, bos_token_id=None, eos_token_id=chat.end,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config)
    rows = []
    for text, answer in examples.items():
        (prompt,) = chat.encode([[Message("system", system), Message("user", text)]])
        assert isinstance(prompt, list)
        written = chat._plain.encode(answer, add_special_tokens=False).ids
        rows.append((prompt, [*written, chat.end]))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    width = max(len(prompt) + len(answer) for prompt, answer in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for row, (prompt, answer) in enumerate(rows):
        start = width - len(prompt) - len(answer)
        ids[row, start:] = torch.tensor(prompt + answer)
        mask[row, start:] = 1
        labels[row, width - len(answer) :] = torch.tensor(answer)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    for _ in range(steps):
        loss = model(input_ids=ids, attention_mask=mask, position_ids=positions, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    # As Qwen2.5-Instruct comes: a labeler has to take the likeliest token nevertheless.
    sampling = {"do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.3}
    ends = {"eos_token_id": [chat.end, tokens[0]["id"]], "pad_token_id": tokens[0]["id"]}
    (folder / "generation_config.json").write_text(json.dumps(sampling | ends))
