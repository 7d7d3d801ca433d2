# What a person at a prompt should know; scripts with a login shell get a clean output.
case $- in *i*)
	/usr/local/bin/boot2docker-state
	# The type of a serial line has no colours, and boot2docker-cli looks there for `inet ADDRESS`.
	if [ "${TERM-}" = vt100 ]; then alias ip='ip -color=never'; fi
	;;
esac
