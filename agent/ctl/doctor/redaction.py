"""Secrets out of texts that leave the node: passwords, keys, tokens, the user part of URLs. Pure.

Two ways at once: what is known to be a secret (from the settings, and from files that have secrets under names that
say so) is taken out wherever it stands, and what looks like one is taken out whether it is known or not. Too
much rather than too little: an archive without a word can be read, a password cannot be taken back.
"""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus

REMOVED = "(removed)"
_ENDINGS = (
    r"pass(?:word|wd|phrase)|secret|token|credential|authorization|bearer|cookie|"
    r"api[_-]?key|access[_-]?key|private[_-]?key|key[_-]?data|preshared[_-]?key"
)
"""A name that ends so, whatever it begins with."""
_WORDS = r"pass|pw|auth|psk|(?:etcd|client|tls|server|ssh)[_-]?key"
"""The same where it is the whole name, or stands behind a separator: "bypass" is none."""
_NAME = rf"(?:[a-z0-9_.-]{{0,64}}(?:{_ENDINGS})s?|(?:[a-z0-9_.-]{{0,64}}[_.-])?(?:{_WORDS}))"
"""Bounded, so that a megabyte of letters costs no more than its length."""
_NAMED = re.compile(_NAME, re.IGNORECASE)
_A_KEY = re.compile(r"key\W*$", re.IGNORECASE)
_KEY_FILES = re.compile(r"key[_-]?file$", re.IGNORECASE)
"""They name a file. Where they hold the key itself, it goes."""
_ASSIGNED = re.compile(
    rf"""(?P<flag>--)?(?<![a-z0-9])(?P<head>\\*["']?{_NAME}\\*["']?(?P<to>\s*(?:=>|[:=])\s*|\s+))"""
    r"""(?P<value>\\+"(?:[^"\\]|\\+[^"\\])*\\+"|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|"""
    r"""(?:basic|bearer)\s+[^\s"',}]+|[^\s"',}\]\\]+)""",
    re.IGNORECASE,
)
_QUOTED = re.compile(
    rf"""(?P<head>(?P<mark>["'])(?:--)?{_NAME}\s*[:=]\s*)(?P<value>(?:(?!(?P=mark))[^\n])+)(?P=mark)""",
    re.IGNORECASE,
)
"""Name and value in one pair of quotes, as in a unit's Environment="X_PASSWORD=two words"."""
_USER = re.compile(r"(?<=://)[^/\s\"'<>]*@")
_LOGIN = re.compile(r"(--user[= ]|ETCDCTL_USER=)[^\s\"':]+:[^\s\"']+", re.IGNORECASE)
_PEM = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
_JWT = re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*")
_ETCD_TOKEN = re.compile(r"\b[A-Za-z]{16}\.\d{2,20}\b")
"""etcd's simple tokens: 16 letters and an index (etcd, auth/simple_token.go)."""
_WHO = re.compile(r"user(?:[_-]?name)?|name|type|method", re.IGNORECASE)
"""Beside a secret and none: "root" taken out of everything would leave little."""
_SHORT, _SHORTEST = 6, 3


class Redactor:
    """Knows some ``secrets`` by their text. More can be learnt before the first text is cleaned."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._known: set[str] = set()
        for secret in secrets:
            self.learn(secret)

    def learn(self, secret: str) -> None:
        """A text that must not leave; of several lines each is one."""
        for line in secret.splitlines():
            word = line.strip()
            if word and not word.startswith("-----") and word != REMOVED:
                packed = base64.b64encode(word.encode()).decode().rstrip("=")
                self._known |= {word, quote(word), quote_plus(word), json.dumps(word)[1:-1], packed}

    def learn_named(self, document: object) -> None:
        """The secrets of a configuration, by the names of its keys."""
        for secret in _secrets_of(document):
            self.learn(secret)

    def clean(self, text: str) -> str:
        """The text without them."""
        text = _PEM.sub(REMOVED, text)
        for secret in sorted(self._known, key=len, reverse=True):
            if secret in text:
                pattern = re.escape(secret)
                if len(secret) < _SHORT:  # a whole word only: "a" is in every text
                    pattern = rf"(?<!\w){pattern}(?!\w)"
                text = re.sub(pattern, REMOVED, text)
        text = _LOGIN.sub(rf"\1{REMOVED}", _USER.sub(f"{REMOVED}@", text))
        text = _QUOTED.sub(rf"\g<head>{REMOVED}\g<mark>", text)
        text = _ASSIGNED.sub(_without_value, text)
        return _ETCD_TOKEN.sub(REMOVED, _JWT.sub(REMOVED, text))

    def clean_json(self, text: str) -> str:
        """A JSON document without them; what is no JSON is cleaned as text."""
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            return self.clean(text)
        self.learn_named(document)
        return self.clean(json.dumps(_without(document), indent=2))


def _without_value(match: re.Match[str]) -> str:
    value, is_prose = match["value"], match["to"].isspace() and not match["flag"]
    bare = value.lstrip("\\\"'")
    if is_prose or bare.startswith(REMOVED):  # "the token of …"
        return match[0]
    if bare.startswith("/") and _A_KEY.search(match["head"].rstrip("\\\"' :=>")):
        return match[0]  # the name of a file
    mark = value[: len(value) - len(bare)]
    return f"{match['flag'] or ''}{match['head']}{mark}{REMOVED}{mark}"


def is_secret(name: str, value: object) -> bool:
    """By the name of a key: is its value a secret?"""
    is_path = isinstance(value, str) and value.startswith("/")
    if _KEY_FILES.search(name):
        return isinstance(value, str) and not is_path
    return bool(_NAMED.fullmatch(name)) and not (is_path and bool(_A_KEY.search(name)))


def _secrets_of(document: object, *, inside: bool = False) -> Iterator[str]:
    if isinstance(document, dict):
        for name, value in document.items():
            if not _WHO.fullmatch(str(name)):
                yield from _secrets_of(value, inside=inside or is_secret(str(name), value))
    elif isinstance(document, list):
        for value in document:
            yield from _secrets_of(value, inside=inside)
    elif inside and isinstance(document, str) and len(document) >= _SHORTEST:
        yield document


def _without(document: Any) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(document, dict):
        return {
            name: REMOVED if is_secret(str(name), value) else _without(value)
            for name, value in document.items()
        }
    return [_without(value) for value in document] if isinstance(document, list) else document
