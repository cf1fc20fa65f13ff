//! Images: reading OCI layouts and `docker save` archives, verifying, unpacking, the store, the built-in demo.

pub mod unpack;
