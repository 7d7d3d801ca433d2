# What /var/lib/boot2docker/profile exports, such as proxies.
if [ -r /run/boot2docker/profile.sh ]; then . /run/boot2docker/profile.sh; fi
