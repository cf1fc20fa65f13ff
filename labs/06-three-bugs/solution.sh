#!/bin/sh
# 1. No descriptor of a directory outside.
# 2. The new root has to be a mount of its own.
# 3. The old root is in use: it goes out of sight first.
sed -e '/^exec 9<\.$/d' \
    -e 's/^cd new/mount --bind new new; cd new/' \
    -e 's/^umount/umount -l/' swap >repaired
cat repaired >swap
./swap sleep 1000 >log 2>&1 &
sleep 2
