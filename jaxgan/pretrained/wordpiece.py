"""WordPiece: a sentence as numbers of pieces of words, as BERT's uncased networks read it.

Devlin et al. 2019, "BERT: Pre-training of deep bidirectional transformers for language
understanding". Case and accents are dropped, Chinese characters are words of their own, and each
word is the longest pieces of the vocabulary, from left to right; a word that has none is [UNK].
Equal to the library `tokenizers` but for some 500 characters that Unicode has changed since 2015,
whose tables that library keeps.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence

_SPECIAL = re.compile(r"(\[(?:PAD|UNK|CLS|SEP|MASK)\])")

_CHINESE = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF),  # begins at 2B820 in Unicode; this is what BERT's networks saw
    (0x2F800, 0x2FA1F),
)

_LONGEST = 100
"""Characters of a word; longer ones are unknown."""


def vocabulary(text: str) -> dict[str, int]:
    """Pieces by their numbers, of vocab.txt: one a line."""
    return {piece: number for number, piece in enumerate(text.splitlines())}


def pieces(sentence: str, known: Mapping[str, int]) -> list[int]:
    """The numbers of a sentence's pieces, from [CLS] to [SEP]."""
    found = [known["[CLS]"]]
    for part in _SPECIAL.split(sentence):
        if part in known and _SPECIAL.fullmatch(part):
            found.append(known[part])
            continue
        for word in _words(part):
            found += _of_word(word, known)
    return [*found, known["[SEP]"]]


def _words(text: str) -> Iterator[str]:
    """Words and marks of punctuation, in small letters without accents."""
    text = "".join(map(_cleaned, text))
    text = "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")
    # Letter by letter: a sigma at the end of a word is no other letter.
    text = "".join(c.lower() for c in text)
    for word in text.split():
        yield from _apart(word)


def _cleaned(c: str) -> str:
    """What a character is read as: blanks, nothing, itself, or itself between blanks."""
    category = unicodedata.category(c)
    if c not in "\t\n\r" and (c == "\ufffd" or category in ("Cc", "Cf", "Co")):
        return ""
    if c.isspace():
        return " "
    return f" {c} " if any(first <= ord(c) <= last for first, last in _CHINESE) else c


def _apart(word: str) -> Iterator[str]:
    """The word without its marks of punctuation, and these."""
    begun = ""
    for c in word:
        # ASCII's are all that is neither letter nor digit, such as $ and +.
        mark = unicodedata.category(c)[0] == "P" or (c.isascii() and not c.isalnum())
        if not mark:
            begun += c
            continue
        if begun:
            yield begun
        yield c
        begun = ""
    if begun:
        yield begun


def _of_word(word: str, known: Mapping[str, int]) -> Sequence[int]:
    """The longest pieces of a word, from left to right."""
    unknown = [known["[UNK]"]]
    if len(word) > _LONGEST:
        return unknown
    found, start = [], 0
    while start < len(word):
        prefix = "##" if start else ""
        ends = range(len(word), start, -1)
        end = next((end for end in ends if prefix + word[start:end] in known), None)
        if end is None:
            return unknown
        found.append(known[prefix + word[start:end]])
        start = end
    return found
