# Read by bash for a command that came over SSH, and by shells that are no login shells.
if [ -r /run/boot2docker/profile.sh ]; then . /run/boot2docker/profile.sh; fi
