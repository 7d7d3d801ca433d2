#!/bin/sh
# Runs at each boot once Docker was started; a bootlocal.sh on the data disk takes its place.
set -eu
/opt/fleet/report > /run/fleet.report
