# Completion of coppice for fish. The program itself says what may stand where the cursor is: coppice __complete.

function __coppice_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l program $words[1]
    set -e words[1]
    for line in ($program __complete $words 2>/dev/null)
        switch $line
            case ':none'
            case ':files'
                __fish_complete_path (commandline -ct)
            case ':directories'
                __fish_complete_directories (commandline -ct)
            case '*'
                printf '%s\n' $line
        end
    end
end

complete -c coppice -f -a '(__coppice_complete)'
