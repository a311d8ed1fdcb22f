"""`completion bash|zsh`: print the shell script that completes the command when Tab is pressed."""

from __future__ import annotations

from collections.abc import Sequence

from cosybuild.cli.arguments import Parser
from cosybuild.cli.printed import say

_BASH = r"""_cosybuild() {
    local line=${COMP_LINE:0:COMP_POINT} IFS=$'\n' word before command=cosybuild
    [[ ${COMP_WORDS[1]} == -m && ${COMP_WORDS[2]} != cosybuild ]] && return
    [[ ${COMP_WORDS[1]} == -m ]] && command="${COMP_WORDS[0]} -m cosybuild"
    [[ ${COMP_WORDS[1]} != -m && ${COMP_WORDS[0]##*/} != cosybuild ]] && return
    IFS=$' \t'
    set -- $command
    IFS=$'\n'
    COMPREPLY=($("$@" completion --line "$line" 2>/dev/null))
    # Bash replaces only the text behind the last = or : of a word.
    word=${line##*[[:space:]]}
    before=${word%"${word##*[=:]}"}
    COMPREPLY=("${COMPREPLY[@]#"$before"}")
    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[=.] ]] && compopt -o nospace 2>/dev/null
    return 0
}
complete -o default -F _cosybuild cosybuild
"""

_BASH_PYTHON = "complete -o default -o bashdefault -F _cosybuild python python3\n"

_ZSH = r"""(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
_cosybuild() {
    local -a command found
    command=(cosybuild)
    if [[ ${words[2]} == -m ]]; then
        [[ ${words[3]} == cosybuild ]] || { _files; return }
        command=(${words[1]} -m cosybuild)
    elif [[ ${words[1]:t} != cosybuild ]]; then
        _files
        return
    fi
    found=(${(f)"$($command completion --line "$LBUFFER" 2>/dev/null)"})
    if (( ! $#found )); then
        _files
        return
    fi
    compadd -S '' -- ${(M)found:#*[=.]}
    compadd -- ${found:#*[=.]}
}
compdef _cosybuild cosybuild
"""

_ZSH_PYTHON = "compdef _cosybuild python python3\n"


def main(arguments: Sequence[str]) -> int:
    """Print the completion script of a shell, or with `--line` the completions of a command line, one on each line."""
    parser = Parser.of_verb("completion", __doc__, 'Use it so: eval "$(cosybuild completion bash)"')
    parser.add_argument("shell", nargs="?", choices=("bash", "zsh"), default="bash", help="default: bash")
    parser.switch("--python", "complete `python -m cosybuild` too; other arguments of python are completed as files")
    parser.option("--line", "LINE", "print the completions of LINE, whose last word is incomplete", str)
    given = parser.parse_args(arguments)
    if given.line is not None:
        from cosybuild.cli.completing import completions

        say("".join(f"{one}\n" for one in completions(given.line)), end="")
        return 0
    script, more = (_BASH, _BASH_PYTHON) if given.shell == "bash" else (_ZSH, _ZSH_PYTHON)
    say(script + (more if given.python else ""), end="")
    return 0
