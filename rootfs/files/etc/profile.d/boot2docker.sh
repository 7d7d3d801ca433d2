# What a person at a prompt should know; scripts with a login shell get a clean output.
case $- in *i*)
	/usr/local/bin/boot2docker-state
	;;
esac
