#!/bin/sh
# One user namespace owns both network namespaces.
unshare --user --map-root-user --net /bin/sh -c '
    unshare --net sleep 1000 &
    other=$!
    sleep 1
    ip link add left type veth peer name right netns "$other"
    ip addr add 10.9.0.1/24 dev left
    ip link set left up
    nsenter --net="/proc/$other/ns/net" ip addr add 10.9.0.2/24 dev right
    nsenter --net="/proc/$other/ns/net" ip link set right up

    # A datagram: before it goes, the kernel asks who has 10.9.0.2.
    sleep 1
    bash -c "echo hello >/dev/udp/10.9.0.2/9"
    exec sleep 1000
' &
sleep 4
