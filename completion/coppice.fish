# Completion of coppice for fish.
#
# Every option stands on a line of its own behind __coppice_using COMMAND.

# The words of the line without the program: options of coppice itself and their values are passed over.
function __coppice_words
    set -l tokens (commandline -opc)
    set -e tokens[1]
    while set -q tokens[1]
        switch $tokens[1]
            case --root
                set -e tokens[1]
            case '-*'
            case '*'
                break
        end
        set -e tokens[1]
    end
    printf '%s\n' $tokens
end

function __coppice_needs_command
    test -z (__coppice_words)[1]
end

# The command is one of the arguments.
function __coppice_using
    set -l words (__coppice_words)
    contains -- "$words[1]" $argv
end

# How many arguments the command has: what stands behind it without options and their values.
function __coppice_arguments
    set -l words (__coppice_words)
    set -l valued
    switch "$words[1]"
        case run
            set valued --name --mode -m --memory --cpus --pids --hostname -e --env -v --volume -w --workdir -u --user
        case exec
            set valued -e --env -w --workdir -u --user
    end
    set -e words[1]
    set -l count 0
    while set -q words[1]
        if contains -- $words[1] $valued
            set -e words[1]
        else if not string match -q -- '-*' $words[1]
            set count (math $count + 1)
        end
        set -e words[1]
    end
    echo $count
end

# The command is $argv[1] and its first argument is still to come.
function __coppice_wants_first
    __coppice_using $argv; and test (__coppice_arguments) -eq 0
end

function __coppice_instances
    set -l root
    set -l tokens (commandline -opc)
    if set -l at (contains -i -- --root $tokens)
        set root --root $tokens[(math $at + 1)]
    end
    coppice $root ps $argv 2>/dev/null
end

complete -c coppice -f

complete -c coppice -n __coppice_needs_command -s h -l help -d 'Print help and exit'
complete -c coppice -n __coppice_needs_command -l root -x -a '(__fish_complete_directories)' -d 'Where instances are kept'
complete -c coppice -n __coppice_needs_command -l version -d 'Print the version and exit'

complete -c coppice -n __coppice_needs_command -a run -d 'Start an instance on a root and run a command in it'
complete -c coppice -n __coppice_needs_command -a exec -d 'Run one more command in a running instance'
complete -c coppice -n __coppice_needs_command -a ps -d 'List instances'
complete -c coppice -n __coppice_needs_command -a logs -d 'Show the output of a detached instance'
complete -c coppice -n __coppice_needs_command -a stop -d 'Stop instances: first politely, then by force'
complete -c coppice -n __coppice_needs_command -a rm -d 'Remove stopped instances with everything they wrote'
complete -c coppice -n __coppice_needs_command -a doctor -d 'Check what this host can do, and look for leftovers'

complete -c coppice -n '__coppice_wants_first run' -F -d 'Directory or EROFS image'
complete -c coppice -n '__coppice_using run' -s h -l help -d 'Print help and exit'
complete -c coppice -n '__coppice_using run' -l rm -d 'Leave nothing of the instance behind when it stops'
complete -c coppice -n '__coppice_using run' -l name -x -a '(__coppice_instances -aq)' -d 'Name of the instance'
complete -c coppice -n '__coppice_using run' -l mode -x -a 'private\t"writes are kept" shared\t"writes are undone"' -d 'What becomes of writes'
complete -c coppice -n '__coppice_using run' -s d -l detach -d 'Run in the background'
complete -c coppice -n '__coppice_using run' -s i -l interactive -d 'Hand standard input on'
complete -c coppice -n '__coppice_using run' -s t -l tty -d 'Give it a terminal'
complete -c coppice -n '__coppice_using run' -s m -l memory -x -d 'Memory limit, for example 64m'
complete -c coppice -n '__coppice_using run' -l cpus -x -d 'CPU limit, for example 0.5'
complete -c coppice -n '__coppice_using run' -l pids -x -d 'Limit of processes'
complete -c coppice -n '__coppice_using run' -l hostname -x -d 'Host name inside'
complete -c coppice -n '__coppice_using run' -s e -l env -x -a '(set -xn)' -d 'Environment variable'
complete -c coppice -n '__coppice_using run' -s v -l volume -r -F -d 'SOURCE:DESTINATION[:ro]'
complete -c coppice -n '__coppice_using run' -s w -l workdir -x -d 'Working directory inside'
complete -c coppice -n '__coppice_using run' -s u -l user -x -d 'USER[:GROUP]'

complete -c coppice -n '__coppice_wants_first exec' -a '(__coppice_instances -q)' -d Instance
complete -c coppice -n '__coppice_using exec' -s h -l help -d 'Print help and exit'
complete -c coppice -n '__coppice_using exec' -s i -l interactive -d 'Hand standard input on'
complete -c coppice -n '__coppice_using exec' -s t -l tty -d 'Give it a terminal'
complete -c coppice -n '__coppice_using exec' -s e -l env -x -d 'Environment variable'
complete -c coppice -n '__coppice_using exec' -s w -l workdir -x -d 'Working directory inside'
complete -c coppice -n '__coppice_using exec' -s u -l user -x -d 'USER[:GROUP]'

complete -c coppice -n '__coppice_using ps' -s h -l help -d 'Print help and exit'
complete -c coppice -n '__coppice_using ps' -s a -l all -d 'Stopped ones too'
complete -c coppice -n '__coppice_using ps' -s q -l quiet -d 'Names only'
complete -c coppice -n '__coppice_using ps' -l format -x -a 'table json csv' -d 'Form of the output'

complete -c coppice -n '__coppice_wants_first logs' -a '(__coppice_instances -aq)' -d Instance
complete -c coppice -n '__coppice_using logs' -s h -l help -d 'Print help and exit'
complete -c coppice -n '__coppice_using logs' -s f -l follow -d 'Go on until the instance stops'

complete -c coppice -n '__coppice_using stop' -a '(__coppice_instances -q)' -d Instance
complete -c coppice -n '__coppice_using stop' -s h -l help -d 'Print help and exit'
complete -c coppice -n '__coppice_using stop' -s t -l time -x -d 'Seconds to wait before SIGKILL'
complete -c coppice -n '__coppice_using stop' -s s -l signal -x -a 'TERM INT QUIT HUP KILL USR1 USR2' -d 'Signal to ask with'

complete -c coppice -n '__coppice_using rm' -a '(__coppice_instances -aq)' -d Instance
complete -c coppice -n '__coppice_using rm' -s h -l help -d 'Print help and exit'
complete -c coppice -n '__coppice_using rm' -s f -l force -d 'Stop running ones first'

complete -c coppice -n '__coppice_using doctor' -s h -l help -d 'Print help and exit'
complete -c coppice -n '__coppice_using doctor' -l repair -d 'Remove what killed processes left behind'
complete -c coppice -n '__coppice_using doctor' -l runtime-root -x -a '(__fish_complete_directories)' -d 'State root of coppice-runtime'
