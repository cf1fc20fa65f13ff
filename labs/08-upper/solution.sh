#!/bin/sh
cat >prediction <<'END'
upper/motd: file
upper/old: whiteout
upper/new: file
upper/draft: nothing
upper/conf: opaque directory
upper/conf/a: nothing
upper/docs: directory
upper/docs/readme: file
END
cutaway lab check 08

mkdir -p upper work merged

# In a user namespace, overlayfs may keep its notes in user.* attributes
# only.
unshare --user --map-root-user --mount sh -c '
    mount -t overlay \
        -o lowerdir=lower,upperdir=upper,workdir=work,userxattr \
        overlay merged
    cd merged
    echo more >>motd
    rm old
    echo new >new
    echo draft >draft
    rm draft
    rm -r conf
    mkdir conf
    chmod 600 docs/readme
    cd ..
    sleep 1000' &
sleep 1
