"""Sizes of axes that are computed from other sizes, e.g. `past + 1` or `2*frames - 1`."""

from __future__ import annotations

import re
from collections.abc import Mapping

_TERM = re.compile(r"(?:(?P<factor>[0-9]{1,9})\*)?(?P<name>[^\W\d]\w*)|(?P<number>[0-9]{1,9})")
_SUM = re.compile(r"(?P<sign>[+-]?)(?P<term>[^+-]+)")


def terms_of(text: str) -> dict[str, int] | None:
    """Return the factor of each symbol in a sum such as `2*frames - 1`; None if the text is not such a sum.

    The result maps symbol -> factor. The constant has the empty name. A term of the sum is a symbol, an integer, or a
    product such as `2*frames`. Blanks have no meaning.
    """
    plain = re.sub(r"\s*([+*-])\s*", r"\1", text.strip())
    if _SUM.sub("", plain):
        return None
    found: dict[str, int] = {}
    for part in _SUM.finditer(plain):
        term = _TERM.fullmatch(part["term"])
        if term is None:
            return None
        name = term["name"] or ""
        value = int(term["factor"] or 1) if name else int(term["number"])
        found[name] = found.get(name, 0) + (-value if part["sign"] == "-" else value)
    return found if any(found) else None


def symbols_of(dim: int | str) -> tuple[str, ...]:
    """Return the symbols in the size of an axis; a text that is not a sum is one symbol. An integer has none."""
    if isinstance(dim, int):
        return ()
    terms = terms_of(dim)
    return (dim,) if terms is None else tuple(name for name in terms if name)


def text_of(terms: Mapping[str, int]) -> int | str:
    """Return the sum with these factors, the inverse of `terms_of`; an integer if no symbol has a factor."""
    rest = terms.get("", 0)
    signed = [(factor, name if abs(factor) == 1 else f"{abs(factor)}*{name}") for name, factor in terms.items() if name]
    parts = [(factor, text) for factor, text in signed if factor]
    if not parts:
        return rest
    parts += [(rest, str(abs(rest)))] if rest else []
    text = "".join(f" {'-' if factor < 0 else '+'} {text}" for factor, text in parts)
    return text.removeprefix(" + ").strip()


def with_sizes(dim: int | str, sizes: Mapping[str, int]) -> int | str:
    """Replace the symbols that have a size; a text that is not a sum is one symbol."""
    if isinstance(dim, int):
        return dim
    terms = terms_of(dim)
    if terms is None:
        return sizes.get(dim, dim)
    known = sum(factor * sizes[name] for name, factor in terms.items() if name in sizes)
    left = {name: factor for name, factor in terms.items() if name and name not in sizes}
    return text_of({**left, "": terms.get("", 0) + known})


def size_of(dim: int | str, sizes: Mapping[str, int]) -> int:
    """Return the size of an axis as an integer.

    Args:
        dim: an integer, a symbol, or a sum of symbols and integers.
        sizes: the size of each symbol.

    Raises:
        KeyError: a symbol has no size in `sizes`.
    """
    if isinstance(dim, int):
        return dim
    if dim in sizes:
        return sizes[dim]
    terms = terms_of(dim)
    if terms is None:
        raise KeyError(dim)
    return sum(factor * (sizes[name] if name else 1) for name, factor in terms.items())
