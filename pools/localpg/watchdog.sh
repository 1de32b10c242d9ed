# Started as: sh -c <this text> localpg-watchdog FOLDER
# Ends the server in FOLDER and removes FOLDER once standard input is at its
# end, which means that the program which holds the other end is gone.

# Whoever tells everybody to end (a container, a service manager) tells the
# program too; the end of file follows.
trap '' HUP INT QUIT TERM PIPE

folder=$1
data=$1/data
title="postgres: ${1##*/}:"

said=
while read -r line; do said=$line; done

everyone() {
	if [ -r /proc/self/cmdline ]; then # slim images have no ps
		for file in /proc/[0-9]*/cmdline; do
			pid=${file#/proc/}
			args=
			read -r args <"$file" # drops the NULs between the arguments
			printf '%s %s\n' "${pid%/cmdline}" "$args"
		done
	else
		ps -A -ww -o pid= -o args=
	fi
}

# The postmaster and initdb; with "all" the backends too. processes.go has the
# same rule.
ours() {
	everyone | while read -r pid args; do
		case $args in
		*"-D$data"*) echo "$pid" ;;
		"$title"*) [ "$1" = all ] && echo "$pid" ;;
		esac
	done
}

# Signal, then wait for up to ten seconds until all are gone.
end() {
	pids=$(ours "$2")
	# shellcheck disable=SC2086 # one word per process is meant
	if [ -n "$pids" ]; then kill -s "$1" $pids; else return; fi
	tries=0
	while [ -n "$(ours all)" ] && [ $tries -lt 100 ]; do
		sleep 0.1 || sleep 1
		tries=$((tries + 1))
	done
}

sweep() {
	end INT leaders # fast shutdown
	end QUIT all    # immediate shutdown
	end KILL all

	# A server that was killed could not remove its System V segment, whose
	# number is in line 7.
	segment=$(sed -n '7s/^ *[0-9]* *//p' "$data/postmaster.pid")
	[ -n "$segment" ] && ipcrm -m "$segment"

	# A helper of initdb may still write for a moment.
	tries=0
	while [ -e "$folder" ] && [ $tries -lt 100 ]; do
		rm -rf "$folder"
		[ -e "$folder" ] && { sleep 0.1 || sleep 1; }
		tries=$((tries + 1))
	done
}

sweep
# The program may have died between fork and exec of a server process, which
# then was not yet to be seen.
[ "$said" = stopped ] || { sleep 1; sweep; }
[ ! -e "$folder" ]
