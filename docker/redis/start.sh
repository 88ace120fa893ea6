#!/bin/sh
# start.sh CONFIG PASSWORD_FILE: Redis with a password that stands in no file of its own and in no process list.
exec redis-server - <<END
$(cat "$1")
requirepass $(cat "$2")
END
