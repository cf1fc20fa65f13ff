//! A fake kernel for tests: it performs nothing, remembers everything, and fails one call on demand.
