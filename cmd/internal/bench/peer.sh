# Runs a program until standard input ends: when the program that started this
# closes it, or is gone, however it ended. Then the program is stopped, and its
# folder is removed.
folder=$1
shift
# Each client connection is an open file.
ulimit -n "$(ulimit -Hn)" 2>/dev/null
"$@" </dev/null &
read -r _
kill -TERM $! 2>/dev/null
wait $!
rm -rf "$folder" 2>/dev/null
