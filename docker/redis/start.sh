#!/bin/sh
# start.sh CONFIG PASSWORD_FILE: start Redis with a password that appears neither in its configuration file nor in the process list.
exec redis-server - <<END
$(cat "$1")
requirepass $(cat "$2")
END
