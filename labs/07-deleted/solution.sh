#!/bin/sh
set -e
blobs=image/blobs/sha256
mkdir -p "$blobs" one two/etc three/etc

# What each layer holds. The whiteout is an empty file with a name.
echo hello >one/greeting
cp secret two/etc/secret
: >three/etc/.wh.secret

# A blob's name is the digest of its bytes; printed, for the documents.
blob() {
    digest=$(sha256sum "$1" | cut -d ' ' -f 1)
    mv "$1" "$blobs/$digest"
    echo "$digest"
}
descriptor() {
    printf '{"mediaType":"%s","digest":"sha256:%s","size":%s}' \
        "application/vnd.oci.image.$1" "$2" "$(wc -c <"$blobs/$2")"
}

# Layers that are not compressed: digest and diff ID are the same.
diff_ids= layers=
for layer in one two three; do
    tar -cf archive -C "$layer" .
    digest=$(blob archive)
    diff_ids="$diff_ids${diff_ids:+,}\"sha256:$digest\""
    layers="$layers${layers:+,}$(descriptor layer.v1.tar "$digest")"
done

rootfs=$(printf '{"type":"layers","diff_ids":[%s]}' "$diff_ids")
printf '{"architecture":"amd64","os":"linux","rootfs":%s}' \
    "$rootfs" >document
config=$(descriptor config.v1+json "$(blob document)")

printf '{"schemaVersion":2,"config":%s,"layers":[%s]}' \
    "$config" "$layers" >document
manifest=$(descriptor manifest.v1+json "$(blob document)")

printf '{"schemaVersion":2,"manifests":[%s]}' \
    "$manifest" >image/index.json
printf '{"imageLayoutVersion":"1.0.0"}' >image/oci-layout

# Deleted is not gone: the bytes are where they were written.
cutaway lab check 07 || true
rm -r one two three
found=$(grep -l flowerpot "$blobs"/*)
basename "$found" >where
tar -xOf "$found" ./etc/secret >recovered
