//! The demo image.
