# Completion of the docker command, in an interactive bash. Its library is read at the first Tab that needs it: to read it at
# every login would take longer than all else that a login does.
if [ -n "${BASH_VERSION-}" ] && [ -n "${PS1-}" ] && [ -r /usr/share/bash-completion/bash_completion ]; then
	_load_completion() {
		complete -r -D
		. /usr/share/bash-completion/bash_completion
		_comp_complete_load "$@"
	}
	complete -D -F _load_completion
fi
