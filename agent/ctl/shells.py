"""The completion scripts: tables made from the verbs, and the few lines of shell that look into them. Pure.

Nothing that comes from ``__complete`` is ever expanded: words are compared, never evaluated. Options that stand before
the verb are such as all verbs have, so those of ``status`` tell which of them take a value.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol


class Words(Protocol):
    """What a verb takes (agent.ctl.completion.Words)."""

    @property
    def name(self) -> str:
        """The verb."""

    @property
    def help(self) -> str:
        """In some words."""

    @property
    def options(self) -> tuple[str, ...]:
        """All of them."""

    @property
    def values(self) -> Mapping[str, str]:
        """What an option that takes a value may have."""

    @property
    def places(self) -> Mapping[int, str]:
        """What may stand at a place."""


_BASH = """\
_overlayctl() {
    local cur=${COMP_WORDS[COMP_CWORD]} verb='' offer='' place=0 i word skip=''
    local -a where=()
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ -n $skip ]]; then
            case $skip in --config | --run-dir | --instance) where+=("$skip" "$word") ;; esac
            skip=''
        elif [[ -z $verb && $word != -* ]]; then
            verb=$word
        elif [[ -n ${_overlayctl_values["${verb:-status} $word"]+x} ]]; then
            skip=$word
        elif [[ $word != -* ]]; then
            ((place++))
        fi
    done
    if [[ -n $skip ]]; then
        offer=${_overlayctl_values["${verb:-status} $skip"]}
    elif [[ -z $verb ]]; then
        offer="$_overlayctl_verbs help --help --version"
    elif [[ $verb == help ]]; then
        offer=$_overlayctl_verbs
    elif [[ $cur == -* ]]; then
        offer=${_overlayctl_options["$verb"]-}
    else
        offer=${_overlayctl_places["$verb $((place + 1))"]-}
    fi
    case $offer in
        @file) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); compopt -o filenames 2>/dev/null; return ;;
        @*) offer=$(command overlayctl __complete "${offer#@}" "${where[@]}" 2>/dev/null) ;;
    esac
    while read -r word; do
        [[ -n $word && $word == "$cur"* ]] && COMPREPLY+=("$word")
    done <<<"${offer// /$'\\n'}"
}
complete -F _overlayctl overlayctl
"""
_ZSH = """\
_overlayctl() {
    local verb='' offer='' word skip=''
    local -i place=0 i
    local -a where words_offered
    for ((i = 2; i < CURRENT; i++)); do
        word=${words[i]}
        if [[ -n $skip ]]; then
            case $skip in --config | --run-dir | --instance) where+=("$skip" "$word") ;; esac
            skip=''
        elif [[ -z $verb && $word != -* ]]; then
            verb=$word
        elif (( ${+_overlayctl_values[${verb:-status} $word]} )); then
            skip=$word
        elif [[ $word != -* ]]; then
            (( ++place ))
        fi
    done
    if [[ -n $skip ]]; then
        offer=${_overlayctl_values[${verb:-status} $skip]}
    elif [[ -z $verb || $verb == help ]]; then
        _describe verb _overlayctl_verbs
        return
    elif [[ ${words[CURRENT]} == -* ]]; then
        offer=${_overlayctl_options[$verb]}
    else
        offer=${_overlayctl_places[$verb $((place + 1))]}
    fi
    case $offer in
        '') return 1 ;;
        @file) _files; return ;;
        @*) words_offered=(${(f)"$(command overlayctl __complete ${offer#@} $where 2>/dev/null)"}) ;;
        *) words_offered=(${=offer}) ;;
    esac
    compadd -a words_offered
}
"""


def bash(verbs: Sequence[Words]) -> str:
    """For ``source`` or a directory of bash-completion."""
    parts = ["# bash completion of overlayctl; made by: overlayctl completion bash"]
    parts.append(f"_overlayctl_verbs={_quoted(' '.join(verb.name for verb in verbs))}")
    for name, rows in _tables(verbs).items():
        cells = "\n".join(f"    [{_quoted(key)}]={_quoted(offer)}" for key, offer in rows)
        parts.append(f"declare -gA {name}=(\n{cells}\n)")
    return "\n".join([*parts, _BASH])


def zsh(verbs: Sequence[Words]) -> str:
    """For a directory of fpath, or ``eval``."""
    parts = ["#compdef overlayctl", "# made by: overlayctl completion zsh"]
    cells = "\n".join(f"    {_quoted(f'{it.name}:{it.help}')}" for it in verbs)
    parts.append(f"typeset -ga _overlayctl_verbs=(\n{cells}\n)")
    for name, rows in _tables(verbs).items():
        cells = "\n".join(f"    {_quoted(key)} {_quoted(offer)}" for key, offer in rows)
        parts.append(f"typeset -gA {name}=(\n{cells}\n)")
    end = (
        'if [[ "${funcstack[1]}" == _overlayctl ]]; then _overlayctl "$@"; '
        "else compdef _overlayctl overlayctl; fi\n"
    )
    return "\n".join([*parts, _ZSH + end])


def _tables(verbs: Iterable[Words]) -> dict[str, list[tuple[str, str]]]:
    verbs = list(verbs)
    return {
        "_overlayctl_options": [(it.name, " ".join(it.options)) for it in verbs],
        "_overlayctl_values": [
            (f"{it.name} {option}", offer) for it in verbs for option, offer in it.values.items()
        ],
        "_overlayctl_places": [
            (f"{it.name} {place}", offer) for it in verbs for place, offer in it.places.items()
        ],
    }


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


WRITERS: Mapping[str, Callable[[Sequence[Words]], str]] = {"bash": bash, "zsh": zsh}
