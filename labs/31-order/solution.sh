#!/bin/sh
cat >order <<'END'
tmpfs
folders
pivot
proc
leave
hostname
read-only
powers
no-new-privs
END
