# What boot2docker told at a login. `docker -v` itself would cost a second on a slow machine.
if [ -r /etc/version ]; then
	echo "Boot2Docker version $(cat /etc/version), build $(cat /etc/boot2docker)"
fi
