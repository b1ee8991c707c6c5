# bash completion for crivirt. The words come from the program's own table, so they cannot drift.
# Install as /usr/share/bash-completion/completions/crivirt

_crivirt_names() {
    local ids
    case $1 in
    logs | exec | stop | rm | inspect)
        ids=$(crivirt ps -a --format json 2>/dev/null | sed -n 's/^    "name": "\(.*\)",\{0,1\}$/\1/p')
        ;;
    rmp)
        ids=$(crivirt pods --format json 2>/dev/null | sed -n 's/^    "name": "\(.*\)",\{0,1\}$/\1/p')
        ;;
    run | pull | rmi)
        ids=$(crivirt images 2>/dev/null | sed -n '2,$s/^\([^ ]*\)  *\([^ ]*\) .*/\1:\2/p')
        ;;
    help)
        ids=$(crivirt __complete 2>/dev/null)
        ;;
    esac
    printf '%s\n' "$ids"
}

_crivirt() {
    local word=${COMP_WORDS[COMP_CWORD]} command='' i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        -H | --socket | --log-dir) ((i++)) ;;
        -*) ;;
        *)
            command=${COMP_WORDS[i]}
            break
            ;;
        esac
    done
    if [ -z "$command" ]; then
        mapfile -t COMPREPLY < <(compgen -W "$(crivirt __complete 2>/dev/null) --help --socket --version" -- "$word")
    elif [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(crivirt __complete "$command" 2>/dev/null)" -- "$word")
    else
        mapfile -t COMPREPLY < <(compgen -o default -W "$(_crivirt_names "$command")" -- "$word")
    fi
}
complete -F _crivirt crivirt
