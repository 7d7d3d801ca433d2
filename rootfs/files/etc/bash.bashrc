# bash reads this for commands over SSH, which are no login, and for interactive shells that are none.
if [ -r /run/boot2docker/profile.sh ]; then . /run/boot2docker/profile.sh; fi
if [ -n "${PS1-}" ]; then
	if [ "$(id -u)" -eq 0 ]; then PS1='root@\h:\w# '; else PS1='\u@\h:\w\$ '; fi
	if [ -r /etc/profile.d/completion.sh ]; then . /etc/profile.d/completion.sh; fi
fi
