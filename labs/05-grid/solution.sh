#!/bin/sh
# The grid.
sed -i -e '/^both shared/s/?$/yes/' \
    -e '/slave of A, mounted below A/s/?$/yes/' \
    -e '/slave of A, mounted below B/s/?$/no/' \
    -e '/^both private, mounted/s/?$/no/' \
    -e '/^both private, a file/s/?$/yes/' \
    -e '/^A unbindable/s/?$/no/' grid
cutaway lab check 05

# The same, built, in a mount namespace of its own.
unshare --user --map-root-user --mount /bin/sh -c '
    pair() { # FIRST SECOND KIND KIND-OF-THE-SECOND
        mkdir "$1" "$2"
        mount -t tmpfs none "$1"
        mount "--make-$3" "$1"
        mount --bind "$1" "$2"
        mount "--make-$4" "$2"
        mkdir "$1/there"
        mount -t tmpfs none "$1/there"
    }
    pair shared peer shared shared
    pair master slave shared slave
    pair private copy private private
    mkdir unbindable
    mount -t tmpfs none unbindable
    mount --make-unbindable unbindable
    exec sleep 1000
' &
sleep 2
