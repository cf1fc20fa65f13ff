#!/bin/sh
cat >init <<'END'
#!/bin/sh
"$@" &
child=$!
trap 'kill -TERM $child' TERM
wait $child
code=$?
# The trap ends `wait` early: ask again as long as the command is there.
while kill -0 $child 2>/dev/null; do
    wait $child
    code=$?
done
exit $code
END
chmod +x init
