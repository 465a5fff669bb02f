#!/bin/bash
#
# A sandbox for an AI agent: fork, try, roll back. See agent-sandbox.md. Usage: agent-sandbox.sh [VDISK]; needs root, a
# vdisk with a shell (default: debian), and `coppice` in PATH. COPPICE may name the command with its options.

# shellcheck disable=SC2016 # shells inside expand for themselves

set -euo pipefail

vdisk=${1:-debian}
read -ra coppice <<<"${COPPICE:-coppice}"
c() {
    printf '$ coppice %s\n' "$*"
    "${coppice[@]}" "$@"
}
say() { printf '\n# %s\n' "$*"; }

say "A place to work in: an instance with the project. What it writes is its own."
c run --name agent "$vdisk" -- sh -c 'mkdir -p /srv/project && echo "answer=41" > /srv/project/program && . /srv/project/program && echo "answer is $answer"'

say "This state is worth a name. It costs the same, whatever has been written."
c snapshot create agent -m "before the agent" --tag before

say "Three attempts at once, each on that state, none sees the others."
c branch -n 3 agent try
c run --name try-1 "$vdisk" -- sh -c 'rm -rf /srv/project /etc; echo "cleaned up"'
c run --name try-2 "$vdisk" -- sh -c 'echo "answer=42" > /srv/project/program; . /srv/project/program; test "$answer" = 42 && echo passed'
c run --name try-3 --memory 64m --pids 20 "$vdisk" -- sh -c 'yes > /srv/project/endless & sleep 0.2; kill $!; echo "answer=43" > /srv/project/program'

say "What have they done?"
for i in 1 2 3; do
    c diff "try-$i" --stat | tail -n 3
done

say "The second one is right: it becomes a version of the image. The others never were."
c commit try-2 -m "the answer, corrected"
c rm try-1 try-2 try-3

say "The agent's own instance goes on, breaks everything, and is put back."
c run --name agent "$vdisk" -- sh -c 'rm -rf /srv/project; echo oops'
c rollback agent@before
c run --name agent "$vdisk" -- cat /srv/project/program

say "And without any trace, for a single question:"
c run --rm --read-only --cap-drop ALL --security-opt no-new-privileges --memory 64m --pids 20 "$vdisk" -- sh -c 'echo "2 + 2 = $((2 + 2))"'

say "Nothing of it is left but the new version."
c rm agent
c tag -d "$vdisk" before
