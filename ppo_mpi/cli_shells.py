"""What each shell needs to complete the command line: a script that asks ``--complete WORDS``.

The answer has a line for each candidate, ``word<TAB>meaning``, or ``:files`` for the names of
files. The scripts complete ``ppo-mpi`` and ``python -m ppo_mpi``, also behind a launcher; whatever
else is typed behind ``python`` or ``mpirun`` is left to what completed it before.
"""

from __future__ import annotations

_BASH = r"""# bash completion of ppo_mpi; in ~/.bashrc: eval "$(ppo-mpi --completion bash)"
_ppo_mpi() {
    COMPREPLY=()
    local words program=() start=0 i j text IFS=$' \t\n'
    # Not COMP_WORDS, which has --env=atari:Pong in five pieces.
    read -ra words <<< "${COMP_LINE:0:COMP_POINT}"
    [[ ${COMP_LINE:COMP_POINT-1:1} == [[:space:]] ]] && words+=("")
    for ((i = 0; i < ${#words[@]} - 1 && start == 0; i++)); do
        if [[ ${words[i]##*/} == ppo-mpi ]]; then
            program=("${words[i]/#\~/$HOME}") start=$((i + 1))
        elif [[ ${words[i]} == -m && ${words[i + 1]} == ppo_mpi ]]; then
            for ((j = i - 1; j > 0; j--)); do [[ ${words[j]} == -* ]] || break; done
            program=("${words[j]/#\~/$HOME}" -m ppo_mpi) start=$((i + 2))
        fi
    done
    if ((start == 0 || start >= ${#words[@]})); then
        local before=_ppo_mpi_before_${1##*/}
        [[ -n ${!before-} ]] && "${!before}" "$@"
        return
    fi
    # Readline replaces what is behind the last = or : only.
    local last=$2 whole=${words[${#words[@]} - 1]}
    [[ $last == [=:] ]] && last=
    local kept=${whole%"$last"}
    while IFS=$'\t' read -r text _; do
        if [[ $text == :files ]]; then
            compopt -o default 2> /dev/null
        else
            COMPREPLY+=("${text#"$kept"}")
        fi
    done < <("${program[@]}" --complete "${words[@]:start}" 2> /dev/null)
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=:/] ]]; then
        compopt -o nospace 2> /dev/null
    fi
}
_ppo_mpi_register() {
    local name spec
    for name in python python3 mpirun mpiexec srun; do
        # bash-completion loads what it has for a program when it is first asked.
        declare -F _completion_loader > /dev/null && _completion_loader "$name"
        spec=$(complete -p "$name" 2> /dev/null)
        if [[ $spec =~ -F\ ([^ ]+) && ${BASH_REMATCH[1]} != _ppo_mpi ]]; then
            printf -v "_ppo_mpi_before_$name" %s "${BASH_REMATCH[1]}"
        fi
        complete -o bashdefault -o default -F _ppo_mpi "$name"
    done
    complete -F _ppo_mpi ppo-mpi
}
_ppo_mpi_register
unset -f _ppo_mpi_register
"""

_ZSH = r"""# zsh completion of ppo_mpi; in ~/.zshrc: eval "$(ppo-mpi --completion zsh)"
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
_ppo_mpi() {
    local -a program whole open
    local text meaning files i j start=0
    for (( i = 1; i < CURRENT && start == 0; i++ )); do
        if [[ ${words[i]:t} == ppo-mpi ]]; then
            program=(${~words[i]}) start=$((i + 1))
        elif [[ ${words[i]} == -m && ${words[i + 1]} == ppo_mpi ]]; then
            for (( j = i - 1; j > 1; j-- )); do [[ ${words[j]} == -* ]] || break; done
            program=(${~words[j]} -m ppo_mpi) start=$((i + 2))
        fi
    done
    if (( start == 0 || start > CURRENT )); then
        ${_ppo_mpi_before[$service]:-_default} "$@"
        return
    fi
    while IFS=$'\t' read -r text meaning; do
        if [[ $text == :files ]]; then
            files=1
        elif [[ $text == *[=:/] ]]; then
            open+=("${text//:/\\:}:$meaning")
        else
            whole+=("${text//:/\\:}:$meaning")
        fi
    done < <($program --complete "${(@Q)words[start,CURRENT-1]}" "$PREFIX" 2> /dev/null)
    local found=1
    (( $#whole )) && _describe -t words ppo_mpi whole && found=0
    (( $#open )) && _describe -t words ppo_mpi open -S '' && found=0
    if [[ -n $files ]]; then
        compset -P '[^=]#='
        _files && found=0
    fi
    return found
}
typeset -gA _ppo_mpi_before
() {
    local name
    for name in python python3 mpirun mpiexec srun; do
        [[ ${_comps[$name]:-_ppo_mpi} == _ppo_mpi ]] || _ppo_mpi_before[$name]=${_comps[$name]}
        compdef _ppo_mpi $name
    done
}
compdef _ppo_mpi ppo-mpi
"""

_FISH = r"""# fish completion of ppo_mpi; in config.fish: ppo-mpi --completion fish | source
function __ppo_mpi_program
    # The words that start the program, and the number of the word behind them.
    set -l words (commandline -opc)
    set -l last 1
    for i in (seq (count $words))
        if string match -qr '(^|/)ppo-mpi$' -- $words[$i]
            printf '%s\n' (math $i + 1) $words[$i]
            return 0
        end
        set -l next (math $i + 1)
        if test "$words[$i]" = -m; and test "$words[$next]" = ppo_mpi
            printf '%s\n' (math $i + 2) $words[$last] -m ppo_mpi
            return 0
        end
        string match -q -- '-*' $words[$i]; or set last $i
    end
    return 1
end
function __ppo_mpi_complete
    set -l found (__ppo_mpi_program); or return
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l before
    test $found[1] -le (count $words); and set before $words[$found[1]..-1]
    for line in ($found[2..-1] --complete $before "$current" 2> /dev/null)
        if test "$line" = :files
            set -l kept (string match -r '^[^=]*=' -- "$current"; or echo)
            set -l path (string replace -r '^[^=]*=' '' -- "$current")
            printf '%s\n' "$kept"(__fish_complete_path "$path")
        else
            echo $line
        end
    end
end
for name in ppo-mpi python python3 mpirun mpiexec srun
    complete -c $name -n '__ppo_mpi_program > /dev/null' -f -a '(__ppo_mpi_complete)'
end
"""

SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
"""Shell -> its script."""
