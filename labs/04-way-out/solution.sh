#!/bin/sh
# The shell in the cell reads what is written into the fifo.
mkfifo keys
./enter <>keys &
exec 3<>keys
sleep 1
echo ': inside' >&3
sleep 1
cutaway lab check 04

# A second root below the first, with the working directory left above it.
cat >&3 <<'END'
exec perl -e 'mkdir "cell"; chroot "cell"; chdir "../" x 64;
              chroot "."; exec "/bin/sleep", 1000'
END
sleep 1
