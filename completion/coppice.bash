# Completion of coppice for bash. The program itself says what may stand where the cursor is: coppice __complete.

_coppice() {
    local words=() word glued=yes cur line text what=:none cuts='=:' path rest
    # Bash cuts words at "=" and ":" too, and at "@" as a rule; they are put together again.
    [[ $COMP_WORDBREAKS != *@* ]] || cuts+=@
    for word in "${COMP_WORDS[@]:0:COMP_CWORD+1}"; do
        if [[ ${#words[@]} -gt 0 && ($glued = yes || $word = [$cuts]*) ]]; then
            words[-1]+=$word
        else
            words+=("$word")
        fi
        glued=no
        [[ $word != *[$cuts] ]] || glued=yes
    done
    cur=${words[-1]}
    # What bash will replace is what is behind the last "=" or ":", and of that what begins with the last "@".
    path=${cur##*[=:]} rest=${cur##*[=:]}
    [[ $cuts != *@ || $rest != *@* ]] || rest=@${rest##*@}
    COMPREPLY=()
    while IFS= read -r line; do
        case $line in
        :*) what=$line ;;
        *)
            text=${line%%$'\t'*}
            text=${text#"${cur%"$rest"}"}
            COMPREPLY+=("$text")
            ;;
        esac
    done < <("${words[0]}" __complete "${words[@]:1}" 2>/dev/null)
    [[ $what != :none ]] || return 0
    compopt -o filenames 2>/dev/null
    local kind=-f
    [[ $what != :directories ]] || kind=-d
    while IFS= read -r line; do COMPREPLY+=("${line#"${path%"$rest"}"}"); done < <(compgen "$kind" -- "$path")
}

complete -F _coppice coppice
