# Completion of the docker command, in an interactive bash.
if [ -n "${BASH_VERSION-}" ] && [ -n "${PS1-}" ] && [ -r /usr/share/bash-completion/bash_completion ]; then
	. /usr/share/bash-completion/bash_completion
fi
