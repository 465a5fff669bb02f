# Completion of coppice-runtime for bash.
#
# Commands, options, names of containers, files. What stands behind ID of `exec` runs inside a container; nothing on this
# side knows what is there, so nothing is offered.

# The command line up to the cursor as whole words: bash cuts them at "=" and ":" too. Sets $words and $cur.
_coppice_words() {
    local word glued=yes
    words=()
    for word in "${COMP_WORDS[@]:0:COMP_CWORD+1}"; do
        if [[ ${#words[@]} -gt 0 && ($glued = yes || $word = [=:]*) ]]; then
            words[-1]+=$word
        else
            words+=("$word")
        fi
        glued=no
        [[ $word != *[=:] ]] || glued=yes
    done
    cur=${words[-1]}
}

# What bash will replace is the part of the word behind the last "=" or ":".
_coppice_offer() { mapfile -t COMPREPLY < <(compgen -W "$1" -- "${cur##*[=:]}"); }
_coppice_offer_options() {
    mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur")
}
_coppice_offer_files() {
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "${cur##*[=:]}")
}
_coppice_offer_directories() {
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -d -- "${cur##*[=:]}")
}

# Walks over the words before the cursor's. Sets $command, $given (arguments behind it), $root (value of --root),
# $option (whose value is being typed, if any) and $ended (all options are over).
# $1: global options with a value; $2: function that sets $valued to a command's options with a value
_coppice_parse() {
    local i word valued=" $1 "
    command='' root='' option='' ended=''
    given=()
    for ((i = 1; i < ${#words[@]} - 1; i++)); do
        word=${words[i]}
        if [[ $word = -- && -n $command ]]; then
            ended=yes
        elif [[ $word = -?* && -z $ended ]]; then
            if [[ $word = --root=* ]]; then root=${word#*=}; fi
            [[ $valued = *" $word "* ]] || continue
            i=$((i + 1))
            if ((i == ${#words[@]} - 1)); then
                option=$word
                return
            fi
            if [[ $word = --root && -z $command ]]; then root=${words[i]}; fi
        elif [[ -z $command ]]; then
            command=$word
            "$2" "$command"
            valued=" $valued "
        else
            given+=("$word")
            # The rest belongs to the command inside.
            if [[ $command = exec || $command = ps ]]; then ended=yes; fi
        fi
    done
    # --option=VALUE
    if [[ $cur = --*=* && -z $ended ]]; then option=${cur%%=*}; fi
}

_coppice_runtime_valued() {
    case $1 in
    create | run) valued='-b --bundle --console-socket --pid-file --preserve-fds --config' ;;
    spec) valued='-b --bundle' ;;
    exec)
        valued='-p --process -e --env -u --user --cwd -c --cap --console-socket --pid-file --preserve-fds
            -g --additional-gids --process-label --apparmor --cgroup'
        ;;
    list | ps) valued='-f --format' ;;
    update)
        valued='-r --resources --blkio-weight --cpu-period --cpu-quota --cpu-burst --cpu-share --cpu-rt-period
            --cpu-rt-runtime --cpu-idle --cpuset-cpus --cpuset-mems --memory --memory-reservation --memory-swap
            --pids-limit --kernel-memory --kernel-memory-tcp'
        ;;
    events) valued='--interval' ;;
    *) valued='' ;;
    esac
    valued=${valued//$'\n'/ }
}

_coppice_runtime_options() {
    case $1 in
    create) options='-h --help -b --bundle --console-socket --pid-file --preserve-fds --no-new-keyring --no-pivot
            --config' ;;
    run)
        options='-h --help -b --bundle -d --detach --keep --console-socket --pid-file --preserve-fds
            --no-new-keyring --no-pivot --config --no-subreaper'
        ;;
    start | state | pause | resume) options='-h --help' ;;
    update)
        _coppice_runtime_valued update
        options="-h --help $valued"
        ;;
    events) options='-h --help --interval --stats' ;;
    ps) options='-h --help -f --format' ;;
    kill) options='-h --help -a --all' ;;
    delete) options='-h --help -f --force' ;;
    exec)
        options='-h --help -p --process -e --env -u --user --cwd -c --cap --no-new-privs -t --tty --console-socket
            -d --detach --pid-file --preserve-fds -g --additional-gids --process-label --apparmor --cgroup --ignore-paused
            --no-subreaper'
        ;;
    list) options='-h --help -f --format -q --quiet' ;;
    spec) options='-h --help -b --bundle --rootless' ;;
    features) options='-h --help' ;;
    '')
        options='-h --help -v --version --root --log --log-format --debug --rootless --cgroup-manager
            --systemd-cgroup'
        ;;
    *) options='' ;;
    esac
}

_coppice_containers() { coppice-runtime ${root:+--root "$root"} list -q 2>/dev/null; }

_coppice_runtime() {
    local words cur command root option ended options
    local -a given
    COMPREPLY=()
    _coppice_words
    _coppice_parse '--root --log --log-format --rootless --cgroup-manager' _coppice_runtime_valued
    case $option in
    --root | -b | --bundle | --cwd) _coppice_offer_directories ;;
    --rootless) _coppice_offer 'true false auto' ;;
    --log | --config | -p | --process | --pid-file | --console-socket | -r | --resources) _coppice_offer_files ;;
    --log-format) _coppice_offer 'text json' ;;
    --cgroup-manager) _coppice_offer 'cgroupfs systemd disabled' ;;
    -f | --format) _coppice_offer 'table json' ;;
    -e | --env) _coppice_offer "$(compgen -e)" ;;
    ?*) ;;
    '')
        if [[ $cur = -* && -z $ended ]]; then
            _coppice_runtime_options "$command"
            _coppice_offer_options "$options"
            return
        fi
        case $command in
        '') _coppice_offer 'create start state kill delete run exec list update pause resume events ps spec features' ;;
        start | state | delete | exec | update | pause | resume | events | ps)
            [[ ${#given[@]} -gt 0 || -n $ended ]] || _coppice_offer "$(_coppice_containers)"
            ;;
        kill)
            if [[ ${#given[@]} -eq 0 ]]; then
                _coppice_offer "$(_coppice_containers)"
            elif [[ ${#given[@]} -eq 1 ]]; then
                _coppice_offer 'TERM INT QUIT HUP KILL USR1 USR2'
            fi
            ;;
        esac
        ;;
    esac
}

complete -F _coppice_runtime coppice-runtime
